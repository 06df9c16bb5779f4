"""The gRPC server as grpcio's own client sees it: every kind of call, its end by either side, and what is no call."""
# ruff: noqa: ARG002 - behaviours have the arguments of behaviours

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from conftest import eventually
from grpc import StatusCode

from spark_accel.daemon.grpc_calls import Context, Method, Reply
from spark_accel.daemon.grpc_server import GrpcServer
from spark_accel.daemon.request import RequestError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Service:
    """Its methods by name; requests and responses are bytes. It is the server's gate, too."""

    def __init__(self) -> None:
        self.inside = 0
        self.log: list[str] = []

    def enter(self, method: Method) -> None:
        if method.path == "/test/Closed":
            raise RequestError(StatusCode.UNAVAILABLE, "closed")
        self.inside += 1

    def leave(self, method: Method) -> None:
        self.inside -= 1

    async def echo(self, request: bytes, context: Context) -> bytes:
        return request + context.metadata("suffix").encode()

    async def refuse(self, request: bytes, context: Context) -> bytes:
        raise RequestError(StatusCode.FAILED_PRECONDITION, f"not {request.decode()}, 100 %\n")

    async def fail(self, request: bytes, context: Context) -> bytes:
        raise ZeroDivisionError

    async def hang(self, request: bytes, context: Context) -> bytes:
        self.log.append("hangs")
        try:
            await asyncio.Event().wait()
        finally:
            self.log.append("cancelled")
        return b""

    def direct(self, request: bytes, context: Context, reply: Reply) -> Callable[[], None]:
        """Replies at once, later or never, or raises, as the request says."""
        if request == b"raise":
            raise RequestError(StatusCode.NOT_FOUND, "raised")
        if request == b"now":
            reply(lambda: b"now")
        elif request == b"fail":
            asyncio.get_running_loop().call_soon(reply, lambda: bytes(1 // 0))
        elif request == b"later":
            asyncio.get_running_loop().call_soon(reply, lambda: b"later")
        return lambda: self.log.append("cancelled")

    async def count(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield str(number).encode()

    async def large(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            self.log.append(str(number))
            yield bytes(2**20)

    async def sizes(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for request in requests:
            if request == b"refuse":
                raise RequestError(StatusCode.ABORTED, "refused")
            yield str(len(request)).encode()

    async def never_reads(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        return {
            **{name: unary(getattr(self, name.lower())) for name in ("Echo", "Refuse", "Fail", "Hang")},
            "Closed": unary(self.echo),
            "Direct": unary(None),
            "Count": stream(self.count),
            "Large": stream(self.large),
            "Sizes": grpc.stream_stream_rpc_method_handler(self.sizes),
            "NeverReads": grpc.stream_stream_rpc_method_handler(self.never_reads),
        }


class Running:
    """A server in a thread and a channel to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.service = Service()
        self._loop = asyncio.new_event_loop()
        self._server = GrpcServer(self.service, {"/test/Direct": self.service.direct})
        handlers = grpc.method_handlers_generic_handler("test", self.service.handlers())
        self._server.add_generic_rpc_handlers((handlers,))
        self._loop.run_until_complete(self._server.start(path))
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        self.channel = grpc.insecure_channel(f"unix:{path}", options=options)

    def stop_server(self) -> None:
        self._loop.call_soon_threadsafe(self._server.stop)

    def close(self) -> None:
        self.channel.close()
        self.stop_server()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def unary(self, name: str, request: bytes = b"", **options: Any) -> bytes:  # noqa: ANN401 - whatever grpc takes
        answer: bytes = self.channel.unary_unary(f"/test/{name}")(
            request, timeout=options.pop("timeout", 20), **options
        )
        return answer

    def refused(self, name: str, request: bytes = b"", **options: Any) -> tuple[str, str]:  # noqa: ANN401 - as above
        with pytest.raises(grpc.RpcError) as error:
            self.unary(name, request, **options)
        return error.value.code().name, error.value.details()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path / "s")
    yield running
    running.close()


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
    assert server.refused(name, timeout=0.2)[0] == "DEADLINE_EXCEEDED"
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


def test_calls_that_run_when_the_server_stops_are_unavailable(server: Running) -> None:
    call = server.channel.unary_unary("/test/Hang").future(b"")
    eventually(lambda: server.service.log == ["hangs"])

    server.stop_server()

    error = call.exception(20)
    assert (error.code().name, error.details()) == ("UNAVAILABLE", "Server exiting")


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n\r\n", bytes(100), PREFACE + b"\xff" * 100, PREFACE + b"\0\0\4\0\0\0\0\0\1abcd"],
    ids=["HTTP/1", "zeros", "a frame that is too large", "data before settings"],
)
def test_what_is_no_http2_is_hung_up_on(server: Running, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(server.path))
        client.sendall(data)
        while client.recv(1000):
            pass

    assert server.unary("Echo", b"others") == b"others"
