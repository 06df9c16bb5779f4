"""A gRPC server: finds the method of a call and what runs it.

It takes the handlers that grpcio's generated code registers, as `grpc.aio.server` does, whose empty call takes half
a millisecond of processor time. Calls are `grpc_calls.py`'s, HTTP/2 is `http2.py`'s.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from grpc import GenericRpcHandler, RpcMethodHandler, StatusCode

from spark_accel.daemon import grpc_messages
from spark_accel.daemon.grpc_calls import (
    CONTENT_TYPE,
    HEADERS,
    Call,
    Direct,
    Gate,
    Method,
    RefusedCall,
    StreamingCall,
    UnaryCall,
)
from spark_accel.daemon.grpc_messages import Header
from spark_accel.daemon.http2 import READ, Connection
from spark_accel.daemon.request import RequestError

_BACKLOG = 1024  # connections that may wait to be accepted
_READ_SECONDS = 5.0
_UNSUPPORTED_MEDIA_TYPE: list[Header] = [(b":status", b"415")]


class _Details(NamedTuple):
    """The part of grpc.HandlerCallDetails that handlers look at."""

    method: str


class GrpcServer:
    """Methods are those of registered handlers. `direct` has, by path, what runs in their place without a task."""

    def __init__(self, gate: Gate, direct: Mapping[str, Direct]) -> None:
        self._gate = gate
        self._direct = direct
        self._handlers: list[GenericRpcHandler] = []
        self._methods: dict[bytes, Method] = {}
        self._connections: set[Connection] = set()
        self._listening: asyncio.Server | None = None

    def add_generic_rpc_handlers(self, handlers: Iterable[GenericRpcHandler]) -> None:
        """Called by generated code."""
        self._handlers.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, RpcMethodHandler]) -> None:
        """Called by generated code; the generic handlers have them all."""

    async def start(self, socket: Path) -> None:
        """Opens a Unix socket; raises OSError."""
        buffer = memoryview(bytearray(READ))
        self._listening = await asyncio.get_running_loop().create_unix_server(
            lambda: Connection(self._accept, self._connections, buffer), str(socket), backlog=_BACKLOG
        )

    async def stop(self) -> None:
        """Closes and deletes the socket, closes all connections; calls that run end as UNAVAILABLE.

        Waits a few seconds for clients that have not read their answers.
        """
        if self._listening is not None:
            for listening in self._listening.sockets:
                Path(listening.getsockname()).unlink(missing_ok=True)
            self._listening.close()
        for connection in list(self._connections):
            connection.close()
        end = time.monotonic() + _READ_SECONDS
        while self.connected and time.monotonic() < end:
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.abort()

    @property
    def connected(self) -> bool:
        """Whether there are clients."""
        return bool(self._connections)

    def _accept(self, connection: Connection, stream: int, headers: Sequence[Header]) -> Call:
        given = dict(headers)
        if not given.get(b"content-type", b"").startswith(CONTENT_TYPE):
            return RefusedCall(connection, stream, _UNSUPPORTED_MEDIA_TYPE)
        try:
            method = self._method(given.get(b":path", b""))
            kind = StreamingCall if method.streaming else UnaryCall
            return kind(connection, stream, self._gate, method, given)
        except RequestError as error:
            return RefusedCall(connection, stream, [*HEADERS, *grpc_messages.status(error.code, error.message)])

    def _method(self, path: bytes) -> Method:
        if path not in self._methods:
            details = _Details(path.decode(errors="replace"))
            handler = next((found for each in self._handlers if (found := each.service(details))), None)
            if handler is None:
                raise RequestError(StatusCode.UNIMPLEMENTED, f"there is no method '{details.method}'")
            self._methods[path] = self._made(details.method, handler)
        return self._methods[path]

    def _made(self, path: str, handler: RpcMethodHandler) -> Method:
        parse, serialize = handler.request_deserializer or bytes, handler.response_serializer or bytes
        if path in self._direct:
            return Method(path, parse, serialize, direct=self._direct[path])
        if not handler.response_streaming:
            return Method(path, parse, serialize, unary=handler.unary_unary)
        streaming = handler.stream_stream if handler.request_streaming else handler.unary_stream
        return Method(path, parse, serialize, streaming=streaming, takes_stream=handler.request_streaming)
