"""gRPC calls that block, one at a time, over a socket of their own: for requests, of which there are many.

A call of grpcio passes through two threads more, and takes a millisecond where the processor's caches have lost it to a
network that ran meanwhile. HTTP/2 is nghttp2's, by ngh2; everything but requests is grpcio's (`connection.py`).
"""

import contextlib
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

import grpc
import ngh2

_PREFIX = struct.Struct(">BI")  # whether a message is compressed; its length
_WINDOW = 2**31 - 1  # answers must not wait for us: there is one at a time
_READ = 2**16
_ABOUT_CALLS = ((b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"localhost"))
_ABOUT_MESSAGES = ((b"te", b"trailers"), (b"content-type", b"application/grpc"))
_CODES: Mapping[bytes, grpc.StatusCode] = {str(code.value[0]).encode(): code for code in grpc.StatusCode}


class CallError(grpc.RpcError):  # type: ignore[misc] # it comes without types
    """A call that was refused, or whose answer never came (UNAVAILABLE)."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{details} ({code.name})")
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        """As of any error of grpcio."""
        return self._code

    def details(self) -> str:
        """As of any error of grpcio."""
        return self._details


class UnaryChannel:
    """A connection to the server on a Unix socket; raises CallError. One thread calls, any may close it meanwhile."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._http = ngh2.Connection(ngh2.Role.CLIENT, ngh2.Configuration())
        self._http.initiate_connection({ngh2.Setting.INITIAL_WINDOW_SIZE: _WINDOW})
        self._http.set_local_window_size(_WINDOW)
        self._buffer = memoryview(bytearray(_READ))
        self.usable = True
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self.close()
            raise CallError(grpc.StatusCode.UNAVAILABLE, f"{path} can't be reached: {error}") from error

    def call(self, method: str, request: bytes, metadata: Mapping[str, str]) -> bytes:
        """The response to a request, both serialised; `method` as in `/package.Service/Method`. Waits without limit."""
        headers = [*_ABOUT_CALLS, (b":path", method.encode()), *_ABOUT_MESSAGES]
        headers += [(name.encode(), value.encode()) for name, value in metadata.items()]
        try:
            stream = self._http.send_request(headers)
            self._http.send_data(stream, _PREFIX.pack(0, len(request)) + request, end_stream=True)
            return self._answer(stream)
        except (OSError, ngh2.NGH2Error) as error:
            self.close()
            raise CallError(grpc.StatusCode.UNAVAILABLE, f"the connection broke: {error}") from error

    def close(self) -> None:
        """Ends a call that waits, and all that come."""
        self.usable = False
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits
        self._socket.close()

    def _answer(self, stream: int) -> bytes:
        data: list[bytes] = []
        while True:
            self._socket.sendall(self._http.data_to_send())
            got = self._socket.recv_into(self._buffer)
            if not got:
                raise ConnectionResetError("it was closed")
            self._http.receive_data(self._buffer[:got])
            for event in self._http.events():
                if getattr(event, "stream_id", stream) != stream:
                    continue
                if isinstance(event, ngh2.DataReceived):
                    data.append(event.data)
                elif isinstance(event, ngh2.ResponseReceived | ngh2.TrailersReceived):
                    status = dict(event.headers)
                    if b"grpc-status" in status:
                        return _message(status, b"".join(data))
                elif isinstance(event, ngh2.StreamClosed | ngh2.StreamReset):
                    raise ConnectionResetError("the call ended without a status")


def _message(status: Mapping[bytes, bytes], data: bytes) -> bytes:
    code = _CODES.get(status[b"grpc-status"], grpc.StatusCode.UNKNOWN)
    if code != grpc.StatusCode.OK:
        raise CallError(code, unquote(status.get(b"grpc-message", b"").decode(errors="replace")))
    if len(data) < _PREFIX.size or _PREFIX.unpack_from(data) != (0, len(data) - _PREFIX.size):
        raise CallError(grpc.StatusCode.INTERNAL, f"{len(data)} bytes came that are no response")
    return data[_PREFIX.size :]
