"""The gRPC server as grpcio's own client sees it: every kind of call, and its end by either side."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from conftest import eventually
from grpc import StatusCode
from grpc_service import Running, running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as server:
        yield server


@pytest.mark.parametrize("size", [0, 1, 100_000, 20_000_000])
def test_a_unary_call_is_answered_whatever_its_size(server: Running, size: int) -> None:
    assert server.unary("Echo", bytes(size)) == bytes(size)


def test_a_behaviour_sees_the_metadata_of_its_call(server: Running) -> None:
    assert server.unary("Echo", b"a", metadata=[("suffix", "b")]) == b"ab"


def test_many_calls_run_side_by_side_on_one_connection(server: Running) -> None:
    calls = [server.channel.unary_unary("/test/Echo").future(str(number).encode()) for number in range(3000)]

    assert [call.result(30) for call in calls] == [str(number).encode() for number in range(3000)]


def test_a_request_error_is_the_status_of_its_call(server: Running) -> None:
    assert server.refused("Refuse", "größer".encode()) == ("FAILED_PRECONDITION", "not größer, 100 %\n")


def test_what_nobody_foresaw_is_internal_and_says_nothing(server: Running) -> None:
    expected = ("INTERNAL", "internal error; the daemon's log has it")

    assert (server.refused("Fail"), server.refused("Direct", b"fail")) == (expected, expected)


def test_the_gate_may_turn_a_call_away(server: Running) -> None:
    assert server.refused("Closed") == ("UNAVAILABLE", "closed")


def test_a_method_that_is_not_there_is_unimplemented(server: Running) -> None:
    assert server.refused("Nothing") == ("UNIMPLEMENTED", "there is no method '/test/Nothing'")


def test_a_direct_method_replies_now_or_later_or_raises(server: Running) -> None:
    assert (server.unary("Direct", b"now"), server.unary("Direct", b"later")) == (b"now", b"later")
    assert server.refused("Direct", b"raise") == ("NOT_FOUND", "raised")


@pytest.mark.parametrize("name", ["Hang", "Direct"])
def test_a_deadline_ends_a_call_and_what_runs_it(server: Running, name: str) -> None:
    server.unary("Echo")  # so that it is connected
    assert server.refused(name, timeout=1)[0] == "DEADLINE_EXCEEDED"
    eventually(lambda: server.service.log[-1:] == ["cancelled"])


@pytest.mark.parametrize("name", ["Hang", "Direct"])
def test_a_client_that_cancels_ends_what_runs(server: Running, name: str) -> None:
    call = server.channel.unary_unary(f"/test/{name}").future(b"never")
    eventually(lambda: server.service.inside == 1)

    call.cancel()

    eventually(lambda: server.service.log[-1:] == ["cancelled"])


def test_a_connection_that_breaks_ends_its_calls(server: Running) -> None:
    call = server.channel.unary_unary("/test/Hang").future(b"")
    eventually(lambda: server.service.log == ["hangs"])

    server.channel.close()

    eventually(lambda: server.service.log == ["hangs", "cancelled"])
    assert call.code() == StatusCode.CANCELLED


def test_every_call_that_entered_the_gate_leaves_it(server: Running) -> None:
    server.unary("Echo")
    server.refused("Refuse")
    server.refused("Fail")
    server.refused("Hang", timeout=0.1)
    list(server.channel.unary_stream("/test/Count")(b"3"))

    eventually(lambda: server.service.inside == 0)


def test_responses_are_streamed(server: Running) -> None:
    assert list(server.channel.unary_stream("/test/Count")(b"3", timeout=20)) == [b"0", b"1", b"2"]


def test_requests_and_responses_are_streamed(server: Running) -> None:
    sizes = [0, 10, 5_000_000, *range(1000)]
    answers = server.channel.stream_stream("/test/Sizes")(iter(map(bytes, sizes)), timeout=60)

    assert [int(answer) for answer in answers] == sizes


def test_an_error_ends_a_stream_after_what_came_before(server: Running) -> None:
    answers = server.channel.stream_stream("/test/Sizes")(iter([b"one", b"refuse"]), timeout=20)

    assert next(answers) == b"3"
    with pytest.raises(grpc.RpcError) as error:
        next(answers)
    assert (error.value.code().name, error.value.details()) == ("ABORTED", "refused")


def test_a_sender_waits_for_a_client_that_does_not_read(server: Running) -> None:
    answers = server.channel.unary_stream("/test/Large")(b"1000", timeout=60)
    next(answers)

    answers.cancel()

    assert len(server.service.log) < 100  # MiB: what windows and sockets hold
    assert server.unary("Echo", b"still there") == b"still there"


def test_a_client_waits_for_a_method_that_does_not_read(server: Running) -> None:
    sent = []

    def requests() -> Iterator[bytes]:
        for _ in range(1000):
            sent.append(1)
            yield bytes(2**20)

    call = server.channel.stream_stream("/test/NeverReads")(requests(), timeout=60)
    eventually(lambda: len(sent) > 64)

    assert server.unary("Echo", bytes(10_000_000)) == bytes(10_000_000)  # the connection is not blocked
    assert len(sent) < 100  # MiB: messages that wait, and a window
    call.cancel()
