"""gRPC's framing: messages come out whole however they arrive; time-outs and statuses as the protocol writes them."""

import gzip
import zlib
from itertools import pairwise
from urllib.parse import unquote

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from spark_accel.daemon import grpc_messages
from spark_accel.daemon.grpc_messages import MessageReader
from spark_accel.daemon.request import RequestError


@given(st.lists(st.binary(max_size=50), max_size=8), st.lists(st.integers(0, 500)))
def test_messages_come_out_whole_and_in_order_however_they_arrive(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(map(grpc_messages.framed, messages))
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    reader = MessageReader()

    read = [reader.unpacked(one) for start, end in pairwise(edges) for one in reader.read(data[start:end])]

    assert read == messages
    assert reader.empty


def test_what_ends_within_a_message_is_not_empty() -> None:
    reader = MessageReader()

    assert reader.read(grpc_messages.framed(b"message")[:-1]) == []
    assert not reader.empty


@pytest.mark.parametrize(("encoding", "compress"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)])
def test_compressed_messages_are_decompressed(encoding: bytes, compress: object) -> None:
    data = compress(b"message" * 100)  # type: ignore[operator]

    reader = MessageReader(encoding)

    assert [reader.unpacked(one) for one in reader.read(_compressed(data))] == [b"message" * 100]


@pytest.mark.parametrize(
    ("encoding", "data", "code", "message"),
    [
        (b"gzip", b"no gzip", "INTERNAL", "a message can't be decompressed: Error -3"),
        (
            b"gzip",
            gzip.compress(b"message", mtime=0)[:-4],
            "INTERNAL",
            "a message can't be decompressed: it is cut short",
        ),
        (b"identity", b"message", "INTERNAL", "a message is compressed and the call names no encoding"),
        (b"deflate", zlib.compress(bytes(grpc_messages.MAX_BYTES + 1)), "RESOURCE_EXHAUSTED", "a message has 26843545"),
    ],
)
def test_damaged_and_huge_compressed_messages_are_refused(
    encoding: bytes, data: bytes, code: str, message: str
) -> None:
    reader = MessageReader(encoding)
    (packed,) = reader.read(_compressed(data))

    with pytest.raises(RequestError, match=f"^{message}") as error:
        reader.unpacked(packed)

    assert error.value.code.name == code


def test_a_message_that_is_too_large_is_refused_before_it_arrives() -> None:
    length = grpc_messages.MAX_BYTES + 1

    with pytest.raises(RequestError, match=f"^a message has {length} bytes, at most 268435456 are taken") as error:
        MessageReader().read(b"\0" + length.to_bytes(4, "big"))

    assert error.value.code == StatusCode.RESOURCE_EXHAUSTED


def test_an_encoding_that_is_not_known_is_unimplemented() -> None:
    with pytest.raises(RequestError, match=r"^no messages of encoding 'br' are taken") as error:
        MessageReader(b"br")

    assert error.value.code == StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(b"2H", 7200), (b"3M", 180), (b"10S", 10), (b"5m", 0.005), (b"7u", 7e-6), (b"99999999n", 0.099999999)],
)
def test_time_outs_have_units(text: bytes, seconds: float) -> None:
    assert grpc_messages.seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", [b"", b"S", b"10", b"-1S", b"1.5S", b"123456789S", b"1s", "²S".encode()])
def test_time_outs_that_are_none_are_refused(text: bytes) -> None:
    with pytest.raises(
        RequestError, match=r"^grpc-timeout is '.*', expected up to 8 digits and one of H, M, S, m, u, n"
    ):
        grpc_messages.seconds(text)


@given(st.text(max_size=100))
def test_the_text_of_a_status_is_plain_in_its_header_and_comes_back(text: str) -> None:
    headers = dict(grpc_messages.status(StatusCode.NOT_FOUND, text))

    assert headers[b"grpc-status"] == b"5"
    assert all(0x20 <= byte < 0x7F for byte in headers[b"grpc-message"])
    assert unquote(headers[b"grpc-message"].decode()) == text


def test_a_long_text_of_a_status_is_cut() -> None:
    headers = dict(grpc_messages.status(StatusCode.INTERNAL, "x" * 10_000))

    assert headers[b"grpc-message"] == b"x" * 2048 + b"..."


def _compressed(data: bytes) -> bytes:
    return b"\1" + len(data).to_bytes(4, "big") + data
