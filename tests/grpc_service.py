"""A gRPC server in a thread whose methods end in every way, a channel to it, and a client that speaks HTTP/2 itself."""
# ruff: noqa: ARG002 - behaviours have the arguments of behaviours

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import grpc
import ngh2
import pytest
import uvloop
from grpc import StatusCode

from spark_accel.daemon.grpc_calls import Context, Method, Reply
from spark_accel.daemon.grpc_server import GrpcServer
from spark_accel.daemon.request import RequestError


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

    async def late(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        yield b"at once"
        await asyncio.sleep(float(request))
        yield b"late"

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
            "Late": stream(self.late),
            "Large": stream(self.large),
            "Sizes": grpc.stream_stream_rpc_method_handler(self.sizes),
            "NeverReads": grpc.stream_stream_rpc_method_handler(self.never_reads),
        }


class Running:
    """A server in a thread and a channel to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.service = Service()
        self._loop = uvloop.new_event_loop()  # the daemon's
        self._server = GrpcServer(self.service, {"/test/Direct": self.service.direct})
        handlers = grpc.method_handlers_generic_handler("test", self.service.handlers())
        self._server.add_generic_rpc_handlers((handlers,))
        self._loop.run_until_complete(self._server.start(path))
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", -1),
        ]
        self.channel = grpc.insecure_channel(f"unix:{path}", options=options)

    def stop_server(self) -> "Future[None]":
        return asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop)

    @property
    def connected(self) -> bool:
        return self._server.connected

    def close(self) -> None:
        self.channel.close()
        self.stop_server().result(20)
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


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Running]:
    """A server whose socket lies in `folder`."""
    running = Running(folder / "s")
    try:
        yield running
    finally:
        running.close()


class RawClient:
    """A connection to the server whose client does what no good client does."""

    def __init__(self, path: Path, stream_window: int = 2**16 - 1) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.http = ngh2.Connection(ngh2.Role.CLIENT, ngh2.Configuration(auto_window_update=False))
        self.http.initiate_connection({ngh2.Setting.INITIAL_WINDOW_SIZE: stream_window})
        self.hung_up = False
        self.events: list[ngh2.Event] = []
        self.received: Counter[int] = Counter()  # bytes, by stream

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def begin(self, name: str, **headers: str) -> int:
        """The number of a stream for a call of the method, begun with the next `send`."""
        fields = {":method": "POST", ":scheme": "http", ":path": f"/test/{name}", ":authority": "x"}
        fields |= {"content-type": "application/grpc"} | {key.replace("_", "-"): text for key, text in headers.items()}
        return self.http.send_request([(key.encode(), text.encode()) for key, text in fields.items()])

    def call(self, name: str, message: bytes = b"", **headers: str) -> int:
        """The number of a stream with a whole call of one message, for the next `send`."""
        stream = self.begin(name, **headers)
        self.http.send_data(stream, bytes(1) + len(message).to_bytes(4, "big") + message, end_stream=True)
        return stream

    def send(self, before: bytes = b"") -> None:
        """Sends `before` and what is to be sent in one piece."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(before + self.http.data_to_send())

    def read(self) -> None:
        """Takes something from the server; `hung_up` is set at its end."""
        data = b""
        with contextlib.suppress(ConnectionResetError):
            data = self.socket.recv(2**20)
        self.hung_up = not data
        with contextlib.suppress(ngh2.NGH2Error):  # the server has ended the connection
            self.http.receive_data(data)
        for event in self.http.events():
            self.events.append(event)
            if isinstance(event, ngh2.DataReceived):
                self.received[event.stream_id] += len(event.data)
        self.send()

    def make_room(self, stream: int, size: int) -> None:
        """Lets the server send as many bytes of the stream, and as many of others."""
        self.http.set_local_window_size(2 * size)
        self.http.set_local_window_size(size, stream_id=stream)
        self.send()

    def status(self, stream: int) -> str:
        """Reads until the call has its status, which is given as its name; `hung up` without one."""
        while not self.hung_up:
            for event in self.events:
                if isinstance(event, ngh2.ResponseReceived | ngh2.TrailersReceived) and event.stream_id == stream:
                    headers = dict(event.headers)
                    if b"grpc-status" in headers:
                        number = int(headers[b"grpc-status"])
                        return next(code.name for code in StatusCode if code.value[0] == number)
            self.read()
        return "hung up"
