"""gRPC calls that block, one at a time, over a socket of their own; generated stubs take it as a channel.

HTTP/2 is nghttp2's, by ngh2. It is not grpcio's: a call of grpcio passes through two threads more, and takes a
millisecond where the processor's caches have lost it to a network that ran meanwhile; and a process that has a channel
of grpcio open can't be forked without danger: PySpark starts its JVM by a fork, which now and then crashed
(github.com/grpc/grpc/issues/43055).
"""

import contextlib
import os
import socket
import struct
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc
import ngh2
from google.protobuf.message import DecodeError

from spark_accel.daemon.grpc_messages import MessageReader, framed

_ANY_SIZE = 2**32  # of an answer, whose length has 32 bits: the daemon's limit is on what is in it
_WINDOW = 2**31 - 1  # answers must not wait for us: there is one at a time
_READ = 2**16
_SILENT_SECONDS = 20.0  # without a word in a stream the server is asked whether it lives, and has as long to answer
_ABOUT_CALLS = ((b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"localhost"))
_ABOUT_MESSAGES = ((b"te", b"trailers"), (b"content-type", b"application/grpc"))
_CODES: Mapping[bytes, grpc.StatusCode] = {str(code.value[0]).encode(): code for code in grpc.StatusCode}

Metadata = Sequence[tuple[str, str]]
Serialize = Callable[[Any], bytes]
Deserialize = Callable[[bytes], Any]


class CallError(grpc.RpcError):  # type: ignore[misc] # it comes without types
    """A call that was refused, or whose answer never came (UNAVAILABLE), came too late (DEADLINE_EXCEEDED) or is none
    (INTERNAL).
    """

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{details} ({code.name})")
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        """As of any error of grpcio."""
        return self._code

    def details(self) -> str:
        """As of any error of grpcio."""
        return self._details


class StubChannel(ABC):
    """The part of grpc.Channel that generated stubs ask for."""

    @abstractmethod
    def call(self, method: str, request: bytes, metadata: Metadata = (), timeout: float | None = None) -> bytes:
        """The response to a request, both serialised; `method` as in `/package.Service/Method`.

        Waits for `timeout` seconds, without limit if there is none. Raises CallError.
        """

    def unary_unary(
        self, method: str, request_serializer: Serialize, response_deserializer: Deserialize, **_: object
    ) -> Callable[..., Any]:
        """As of grpc.Channel."""

        def call(request: object, timeout: float | None = None, metadata: Metadata = ()) -> object:
            return _parsed(response_deserializer, self.call(method, request_serializer(request), metadata, timeout))

        return call

    def unary_stream(
        self, method: str, request_serializer: Serialize, response_deserializer: Deserialize, **_: object
    ) -> Callable[..., Iterator[Any]]:
        """As of grpc.Channel."""

        def call(request: object) -> Iterator[Any]:
            for response in self.stream(method, request_serializer(request)):
                yield _parsed(response_deserializer, response)

        return call

    def stream(self, method: str, request: bytes) -> Iterator[bytes]:
        """The responses to a request, as they come."""
        raise NotImplementedError(f"{method} answers by a stream")

    def stream_stream(self, method: str, **_: object) -> Callable[..., NoReturn]:
        """As of grpc.Channel, but that there are no streams of requests."""

        def refuse(*_: object, **__: object) -> NoReturn:
            raise NotImplementedError(f"{method} takes a stream of requests")

        return refuse


class Channel(StubChannel):
    """A connection to the server on a Unix socket. One thread has one call at a time; any may close it meanwhile.

    A child that this process forks has no part in it.
    """

    def __init__(self, path: Path) -> None:
        self.usable = True
        self._http = ngh2.Connection(ngh2.Role.CLIENT, ngh2.Configuration())
        self._http.initiate_connection({ngh2.Setting.INITIAL_WINDOW_SIZE: _WINDOW})
        self._http.set_local_window_size(_WINDOW)
        self._buffer = memoryview(bytearray(_READ))
        try:
            with _no_fork:
                self._socket = socket.socket(socket.AF_UNIX)
                _channels.add(self)
            weakref.finalize(self, self._socket.close)
            self._connect(path)
        except OSError as error:
            self.usable = False
            raise CallError(grpc.StatusCode.UNAVAILABLE, f"{path} can't be reached: {error}") from error

    def call(self, method: str, request: bytes, metadata: Metadata = (), timeout: float | None = None) -> bytes:
        """As of StubChannel."""
        found: bytes | None = None
        for message in self._messages(self._send(method, request, metadata), timeout):
            if found is not None:
                self.close()
                raise CallError(grpc.StatusCode.INTERNAL, "two responses came, one was expected")
            found = message
        if found is None:
            raise CallError(grpc.StatusCode.INTERNAL, "no response came")
        return found

    def stream(self, method: str, request: bytes) -> Iterator[bytes]:
        """The responses to a request, as they come. A server that no longer lives is UNAVAILABLE."""
        yield from self._messages(self._send(method, request, ()), None, lives=True)

    def close(self) -> None:
        """Ends a call that waits, and all that come."""
        self.usable = False
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits
        self._socket.close()

    def _connect(self, path: Path) -> None:
        """Waits a while for a place where the server is busy: with a time-out of Python's it would not at all."""
        limit = struct.pack("ll", int(_SILENT_SECONDS), 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self._socket.connect(os.fspath(path))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bytes(len(limit)))

    def _messages(self, stream: int, timeout: float | None, lives: bool = False) -> Iterator[bytes]:
        reader = MessageReader(limit=_ANY_SIZE)
        for piece in self._data(stream, timeout, lives):
            for compressed, message in reader.read(piece):
                if compressed:
                    self.close()
                    raise CallError(grpc.StatusCode.INTERNAL, "a compressed message came, which nobody asked for")
                yield message
        if not reader.empty:
            raise CallError(grpc.StatusCode.INTERNAL, "a message ended in the middle")

    def _send(self, method: str, request: bytes, metadata: Metadata) -> int:
        headers = [*_ABOUT_CALLS, (b":path", method.encode()), *_ABOUT_MESSAGES]
        headers += [(name.encode(), value.encode()) for name, value in metadata]
        with self._whole():
            stream = self._http.send_request(headers)
            self._http.send_data(stream, framed(request), end_stream=True)
        return stream

    def _data(self, stream: int, timeout: float | None, lives: bool) -> Iterator[bytes]:
        """What comes in a stream until its status, which is OK."""
        end = None if timeout is None else time.monotonic() + timeout
        with self._whole():
            while True:
                self._exchange(end, lives)
                for event in self._http.events():
                    if getattr(event, "stream_id", stream) != stream:
                        continue
                    if isinstance(event, ngh2.DataReceived):
                        yield event.data
                    elif isinstance(event, ngh2.ResponseReceived | ngh2.TrailersReceived):
                        status = dict(event.headers)
                        if b"grpc-status" in status:
                            _check(status)
                            return
                    elif isinstance(event, ngh2.StreamClosed | ngh2.StreamReset):
                        raise ConnectionResetError("the call ended without a status")

    def _exchange(self, end: float | None, lives: bool) -> None:
        """Sends what is to be sent and takes what has come, which it waits for."""
        left = _SILENT_SECONDS if lives else None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        if self._socket.gettimeout() != left:  # setting it is a system call
            self._socket.settimeout(left)
        self._socket.sendall(self._http.data_to_send())
        if not self._http.want_read:  # it has just told the server why
            raise ConnectionAbortedError("what came is no HTTP/2")
        try:
            got = self._socket.recv_into(self._buffer)
        except TimeoutError:
            if not lives:
                raise
            got = self._life()
        if not got:
            raise ConnectionResetError("it was closed")
        self._http.receive_data(self._buffer[:got])

    def _life(self) -> int:
        self._http.ping()
        self._socket.sendall(self._http.data_to_send())
        try:
            return self._socket.recv_into(self._buffer)
        except TimeoutError as error:
            raise ConnectionAbortedError("the server does not answer") from error

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        """What ends in the middle, by an interrupt too, leaves no channel behind: half a frame may have been sent."""
        try:
            yield
        except CallError:
            raise
        except BaseException as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise CallError(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer came in time") from error
            if isinstance(error, OSError | ngh2.NGH2Error):
                raise CallError(grpc.StatusCode.UNAVAILABLE, f"the connection broke: {error}") from error
            raise


def _check(status: Mapping[bytes, bytes]) -> None:
    code = _CODES.get(status[b"grpc-status"], grpc.StatusCode.UNKNOWN)
    if code != grpc.StatusCode.OK:
        raise CallError(code, unquote(status.get(b"grpc-message", b"").decode(errors="replace")))


def _parsed(deserialize: Deserialize, message: bytes) -> Any:  # noqa: ANN401 - a message without types
    try:
        return deserialize(message)
    except DecodeError as error:
        raise CallError(grpc.StatusCode.INTERNAL, f"a response can't be read: {error}") from error


_channels: "weakref.WeakSet[Channel]" = weakref.WeakSet()
_no_fork = threading.RLock()  # while a socket is made: the child would not know of it


def _leave_to_parent() -> None:
    """A child's copy of a socket would keep its parent's lease when that has ended."""
    for channel in _channels:
        channel.usable = False
        channel._socket.close()
    _no_fork.release()


os.register_at_fork(before=_no_fork.acquire, after_in_parent=_no_fork.release, after_in_child=_leave_to_parent)
