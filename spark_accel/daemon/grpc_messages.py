"""gRPC's own bytes: messages in a stream of data, time-outs, statuses. What carries them is `http2.py`'s.

The format is https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
"""

import struct
import zlib
from collections.abc import Mapping
from urllib.parse import quote

from grpc import StatusCode

from spark_accel.daemon.request import RequestError

MAX_BYTES = 256 * 2**20
"""Of a request, also once it is decompressed, and of outputs in an answer, but for estimators': bulk data belongs in
regions."""
ACCEPTED_ENCODINGS = b"identity,deflate,gzip"
_PREFIX = struct.Struct(">BI")  # whether it is compressed; the message's length
_WINDOW_BITS = {b"gzip": 31, b"deflate": 15}
_UNITS: Mapping[str, float] = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_MAX_STATUS_BYTES = 2048  # of a status' text: it travels in a header, percent-encoded, and clients take 8 KiB of those
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")

Header = tuple[bytes, bytes]
Message = tuple[bool, bytes]
"""A message as it has arrived: whether it is compressed, and its bytes."""


class MessageReader:
    """Cuts what arrives of one call into messages, of `limit` bytes at most; `encoding` is that of the compressed ones.

    Raises RequestError if there is no such encoding.
    """

    def __init__(self, encoding: bytes = b"identity", limit: int = MAX_BYTES) -> None:
        if encoding != b"identity" and encoding not in _WINDOW_BITS:
            name = encoding.decode(errors="replace")
            accepted = ACCEPTED_ENCODINGS.decode()
            raise RequestError(StatusCode.UNIMPLEMENTED, f"no messages of encoding '{name}' are taken, only {accepted}")
        self._encoding = encoding
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._wanted = _PREFIX.size  # bytes until there is something to do

    @property
    def empty(self) -> bool:
        """Whether nothing of an unfinished message has arrived."""
        return not self._size

    def read(self, data: bytes) -> list[Message]:
        """The messages that `data` completes; raises RequestError for one that is too large."""
        self._parts.append(data)
        self._size += len(data)
        messages: list[Message] = []
        if self._size < self._wanted:
            return messages
        data = b"".join(self._parts)
        at = 0
        while True:
            self._wanted = _PREFIX.size
            if len(data) - at < self._wanted:
                break
            compressed, length = _PREFIX.unpack_from(data, at)
            if length > self._limit:
                raise _too_large(length)
            self._wanted += length
            if len(data) - at < self._wanted:
                break
            message = data[at + _PREFIX.size : at + self._wanted]
            messages.append((bool(compressed), message))
            at += self._wanted
        self._parts = [data[at:]]
        self._size = len(data) - at
        return messages

    def unpacked(self, message: Message) -> bytes:
        """The message; raises RequestError for one that is damaged, or too large once it is decompressed.

        For whoever reads a message, one at a time: one that waits takes no more memory than the client sent.
        """
        compressed, data = message
        return self._decompressed(data) if compressed else data

    def _decompressed(self, message: bytes) -> bytes:
        if self._encoding not in _WINDOW_BITS:
            raise RequestError(StatusCode.INTERNAL, "a message is compressed and the call names no encoding")
        decompressor = zlib.decompressobj(_WINDOW_BITS[self._encoding])
        try:
            data = decompressor.decompress(message, MAX_BYTES + 1)
        except zlib.error as error:
            raise RequestError(StatusCode.INTERNAL, f"a message can't be decompressed: {error}") from None
        if len(data) > MAX_BYTES:
            raise _too_large(len(data))
        if not decompressor.eof:
            raise RequestError(StatusCode.INTERNAL, "a message can't be decompressed: it is cut short")
        return data


def framed(message: bytes) -> bytes:
    """A message as it is sent."""
    return _PREFIX.pack(0, len(message)) + message


def seconds(timeout: bytes) -> float:
    """The time-out that the header `grpc-timeout` asks for; raises RequestError."""
    text = timeout.decode(errors="replace")
    digits, unit = text[:-1], text[-1:]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 8 and unit in _UNITS):
        raise RequestError(
            StatusCode.INTERNAL, f"grpc-timeout is '{text[:20]}', expected up to 8 digits and one of H, M, S, m, u, n"
        )
    return int(digits) * _UNITS[unit]


def status(code: StatusCode, message: str) -> list[Header]:
    """The headers that end a call. A long message is cut."""
    data = message.encode(errors="replace")
    if len(data) > _MAX_STATUS_BYTES:
        message = data[:_MAX_STATUS_BYTES].decode(errors="ignore") + "..."
    number = str(code.value[0]).encode()
    return [(b"grpc-status", number), (b"grpc-message", quote(message, safe=_PLAIN, errors="replace").encode())]


def _too_large(size: int) -> RequestError:
    return RequestError(
        StatusCode.RESOURCE_EXHAUSTED,
        f"a message has {size} bytes, at most {MAX_BYTES} are taken; put large tensors into shared memory",
    )
