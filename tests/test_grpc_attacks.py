"""Clients that break the rules of gRPC and HTTP/2, or use them against the server: others are served on."""

import contextlib
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import eventually
from grpc_service import RawClient, Running, running

from spark_accel.daemon import grpc_calls, http2

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


SETTINGS = frame(4, 0, 0, b"")


@pytest.fixture
def server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Running]:
    with running(tmp_path) as server:
        yield server
        assert server.unary("Echo", b"others") == b"others"
        eventually(lambda: server.service.inside == 0)
    assert caplog.records == []


ENDLESS = {
    "CONTINUATION": frame(1, 0, 1, b"\x82") + frame(9, 0, 1, b"\x00\x01a\x01b" * 100) * 1000,
    "headers": frame(1, 0, 1, b"\x82" + b"\x00\x01a\x7f\x81\x7e" + bytes(16_000)) + frame(9, 0, 1, bytes(16_000)) * 9,
    "an indexed header": frame(1, 4, 1, b"\x40\x01a\x7f\xa1\x1e" + bytes(4000) + b"\xbe" * 12_000) * 100,
    "SETTINGS": SETTINGS * 10_000,
    "PING": frame(6, 0, 0, bytes(8)) * 100_000,
    "PRIORITY": frame(2, 0, 1, bytes(5)) * 20_000,
    "WINDOW_UPDATE": frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2,
}


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\0\1\0\1\xfc\3\3" + bytes(500),
        bytes(100),
        PREFACE + b"\xff" * 100,
        PREFACE + frame(0, 0, 1, b"abcd"),
        *(PREFACE + SETTINGS + data for data in ENDLESS.values()),
    ],
    ids=["HTTP/1", "TLS", "zeros", "a frame that is too large", "data before settings", *ENDLESS],
)
def test_what_is_no_http2_or_has_no_end_is_hung_up_on(server: Running, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(server.path))
        with contextlib.suppress(ConnectionError):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while client.recv(1000):
                pass


@pytest.mark.parametrize("timeout", ["0n", "99999999H", "1", "-1S"])
def test_every_time_out_is_answered_or_waited_for(server: Running, timeout: str) -> None:
    with RawClient(server.path) as client:
        hang, echo = client.call("Hang", grpc_timeout=timeout), client.call("Echo")
        client.send()

        assert client.status(echo) == "OK"
        if timeout != "99999999H":
            assert client.status(hang) == ("DEADLINE_EXCEEDED" if timeout == "0n" else "INTERNAL")


def test_a_client_that_is_gone_in_the_middle_of_its_calls_ends_them(server: Running) -> None:
    with RawClient(server.path) as client:
        for _ in range(64):
            client.call("Hang")
        client.begin("Echo")
        client.send()
        eventually(lambda: server.service.inside == 64)

    eventually(lambda: server.service.inside == 0)


def test_hundreds_of_connections_that_say_nothing_take_little(server: Running) -> None:
    before = psutil.Process().memory_info().rss

    with contextlib.ExitStack() as clients:
        for _ in range(300):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(server.path))
        assert server.unary("Echo", b"others") == b"others"
        assert psutil.Process().memory_info().rss - before < 2**24


def test_a_call_that_is_broken_off_at_once_ends_no_other(server: Running) -> None:
    with RawClient(server.path) as client:
        other = client.call("Hang", grpc_timeout="300m")
        client.send()
        stream = client.call("Nothing")  # is refused as soon as it is read
        begun = client.http.data_to_send()
        client.http.reset_stream(stream)
        client.send(before=begun)

        assert client.status(other) == "DEADLINE_EXCEEDED"


def test_a_deadline_that_ends_a_sender_leaves_the_connection_as_it_was(server: Running) -> None:
    with RawClient(server.path) as client:
        large = client.call("Large", b"3", grpc_timeout="300m")
        client.send()
        eventually(lambda: server.service.log[:1] == ["0"])
        eventually(lambda: server.service.inside == 0)

        client.make_room(large, 2**20 - 2**15)  # all but what a sender does not wait for
        first = client.call("Echo")
        client.send()
        assert client.status(first) == "OK"
        client.make_room(large, 2**24)

        assert client.status(large) == "DEADLINE_EXCEEDED"


def test_what_broken_off_calls_had_not_read_takes_no_room(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "_MAX_WINDOW", 2**24)
    with RawClient(server.path) as client:
        for _ in range(10):  # times 4 MiB
            stream = client.begin("NeverReads")
            client.http.send_data(stream, bytes(5 * 65))
            client.http.send_data(stream, bytes(1) + (2**22).to_bytes(4, "big") + bytes(2**22 - 1000))
            client.send()
            while not client.hung_up and client.http.queued_body_size(stream):
                client.read()
            client.http.reset_stream(stream)
        echo = client.call("Echo")
        client.send()

        assert client.status(echo) == "OK"


def test_a_unary_call_of_many_messages_is_refused_at_the_second(server: Running) -> None:
    with RawClient(server.path) as client:
        stream = client.begin("Echo")
        client.http.send_data(stream, bytes(5 * 2))
        client.send()

        assert client.status(stream) == "INTERNAL"


def test_answers_that_a_client_does_not_read_have_a_limit(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_calls, "_MOST_UNSENT", 10_000_000)
    with RawClient(server.path) as client:
        calls = [client.call("Large", b"100") for _ in range(20)]
        client.send()

        assert client.status(calls[-1]) == "RESOURCE_EXHAUSTED"
    assert server.unary("Echo", b"others") == b"others"


def test_streams_that_are_reset_without_end_end_their_connection(server: Running) -> None:
    with RawClient(server.path) as client:
        for _ in range(2000):
            stream = client.begin("Hang")
            begun = client.http.data_to_send()
            client.http.reset_stream(stream)
            client.send(before=begun)

        while not client.hung_up:
            client.read()


def test_compressed_messages_that_wait_are_not_decompressed(server: Running) -> None:
    bomb = zlib.compress(bytes(2**26), 9)
    with RawClient(server.path) as client:
        stream = client.begin("NeverReads", grpc_encoding="deflate")
        for _ in range(40):  # 64 MiB each
            client.http.send_data(stream, b"\1" + len(bomb).to_bytes(4, "big") + bomb)
        before = psutil.Process().memory_info().rss
        client.send()
        while client.http.queued_body_size(stream):
            client.read()
        echo = client.call("Echo")
        client.send()

        assert client.status(echo) == "OK"
        assert psutil.Process().memory_info().rss - before < 2**29
