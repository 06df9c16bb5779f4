"""BYTES tensors: each element is a little-endian uint32 length and then its bytes, one after the other.

The server checks what comes inline, workers what comes from a region; both with `check`.
"""

import struct
from collections.abc import Iterable, Iterator

from grpc import StatusCode

from spark_accel.daemon.request import RequestError

_LENGTH = struct.Struct("<I")


def serialize(elements: Iterable[bytes]) -> bytes:
    """The bytes of a tensor of these elements, in row-major order."""
    return b"".join(part for element in elements for part in (_LENGTH.pack(len(element)), element))


def deserialize(data: bytes) -> Iterator[bytes]:
    """The elements of a tensor that `check` has accepted."""
    at = 0
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        yield data[at : at + length]
        at += length


def check(data: bytes, count: int, name: str, model: str, request_id: str) -> None:
    """Raises RequestError unless `data` holds just `count` elements of input `name`, without copying any."""
    tag = f"[request id: {request_id or '<id_unknown>'}] "
    found = at = 0
    while at < len(data):
        left = len(data) - at
        if found == count:
            raise _invalid(
                f"{tag}unexpected number of string elements {count + 1} for inference input '{name}' for model"
                f" '{model}', expecting {count}"
            )
        if left < _LENGTH.size:
            raise _invalid(
                f"{tag}incomplete string length indicator for inference input '{name}' for model '{model}', expecting"
                f" {_LENGTH.size} bytes but only {left} bytes available. Please make sure the string length indicator"
                " is in one contiguous buffer."
            )
        (length,) = _LENGTH.unpack_from(data, at)
        left -= _LENGTH.size
        if length > left:
            raise _invalid(
                f"incomplete string data for inference input '{name}', expecting string of length {length} but only"
                f" {left} bytes available"
            )
        at += _LENGTH.size + length
        found += 1
    if found != count:
        raise _invalid(
            f"{tag}expected {count} string elements for inference input '{name}' for model '{model}', got {found}"
        )


def _invalid(message: str) -> RequestError:
    return RequestError(StatusCode.INVALID_ARGUMENT, message)
