"""Blocking calls over a socket of their own, to our server and to grpcio's."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from conftest import eventually
from grpc_service import Running, running

from spark_accel import channel as channel_module
from spark_accel.channel import CallError, Channel


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as server:
        yield server


@pytest.fixture
def channel(server: Running) -> Iterator[Channel]:
    channel = Channel(server.path)
    yield channel
    channel.close()


def end_of_a_call_that_hangs(server: Running, channel: Channel, end: Callable[[], object]) -> BaseException | None:
    """How a call ends that another thread waits for when `end` is called."""
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(channel.call, "/test/Hang", b"")
        eventually(lambda: server.service.log == ["hangs"])
        end()
        return call.exception(20)


def unavailable(error: BaseException | None) -> bool:
    return isinstance(error, CallError) and error.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("size", [0, 1, 70_000, 20 * 2**20])
def test_requests_and_responses_may_have_any_size(channel: Channel, size: int) -> None:
    request = bytes(range(256)) * (size // 256) + bytes(size % 256)

    assert channel.call("/test/Echo", request, [("suffix", "!")]) == request + b"!"
    assert channel.call("/test/Echo", request) == request


def test_a_refusal_has_its_code_and_words(channel: Channel) -> None:
    with pytest.raises(CallError) as refused:
        channel.call("/test/Refuse", "schön".encode())

    assert (refused.value.code().name, refused.value.details()) == ("FAILED_PRECONDITION", "not schön, 100 %\n")
    assert channel.call("/test/Echo", b"on") == b"on"


def test_a_server_that_ends_makes_its_calls_unavailable(server: Running, channel: Channel) -> None:
    assert unavailable(end_of_a_call_that_hangs(server, channel, server.stop_server))
    with pytest.raises(CallError) as after:
        channel.call("/test/Echo", b"")
    assert unavailable(after.value)


def test_closing_ends_the_call_that_another_thread_waits_for(server: Running, channel: Channel) -> None:
    assert unavailable(end_of_a_call_that_hangs(server, channel, channel.close))
    eventually(lambda: server.service.log == ["hangs", "cancelled"])


def test_an_answer_that_does_not_come_in_time_is_not_waited_for(server: Running, channel: Channel) -> None:
    with pytest.raises(CallError) as late:
        channel.call("/test/Hang", b"", timeout=0.1)

    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: server.service.log == ["hangs", "cancelled"])


def test_a_call_that_is_interrupted_ends_with_its_channel(server: Running, channel: Channel) -> None:
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    with ThreadPoolExecutor(1) as thread:
        sent = thread.submit(_interrupt, server, threading.get_ident())
        with pytest.raises(KeyboardInterrupt):
            channel.call("/test/Hang", b"")
        sent.result()
    signal.signal(signal.SIGUSR1, before)

    assert not channel.usable
    eventually(lambda: server.service.log == ["hangs", "cancelled"])


def _interrupt(server: Running, thread: int) -> None:
    eventually(lambda: server.service.log == ["hangs"])
    signal.pthread_kill(thread, signal.SIGUSR1)


@pytest.mark.parametrize(("method", "request_", "answers"), [
    ("Count", b"1000", [str(number).encode() for number in range(1000)]),
    ("Count", b"0", []),
    ("Large", b"3", [bytes(2**20)] * 3),
])  # fmt: skip
def test_a_stream_gives_its_answers_in_order(
    channel: Channel, method: str, request_: bytes, answers: list[bytes]
) -> None:
    assert list(channel.stream(f"/test/{method}", request_)) == answers


def test_a_stream_waits_as_long_as_the_server_lives(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "_SILENT_SECONDS", 0.2)

    assert list(channel.stream("/test/Late", b"1.5")) == [b"at once", b"late"]


def test_a_stream_ends_where_the_server_falls_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "_SILENT_SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{tmp_path}/s")
        silent.listen()

        with pytest.raises(CallError, match="the server does not answer") as error:
            list(Channel(tmp_path / "s").stream("/test/Count", b"1"))

    assert unavailable(error.value)


def test_where_no_server_is_the_call_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(CallError) as error:
        Channel(tmp_path / "none")

    assert unavailable(error.value)


def test_grpcios_own_server_is_understood(tmp_path: Path) -> None:
    def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.NOT_FOUND, f"no {request.decode()}")

    methods = {
        "Echo": grpc.unary_unary_rpc_method_handler(lambda request, _: request),
        "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    }
    server = grpc.server(ThreadPoolExecutor(1), options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", methods),))
    server.add_insecure_port(f"unix:{tmp_path}/s")
    server.start()
    channel = Channel(tmp_path / "s")

    assert channel.call("/test/Echo", bytes(5_000_000)) == bytes(5_000_000)
    with pytest.raises(CallError, match="no thing"):
        channel.call("/test/Refuse", b"thing")
    channel.close()
    server.stop(None).wait()
