"""Servers that answer what is no answer: the call ends with a clear error, whatever comes."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import ngh2
import pytest

from spark_accel.channel import CallError, Channel
from spark_accel.lease import Lease

HEADERS = [(b":status", b"200"), (b"content-type", b"application/grpc")]
OK = [(b"grpc-status", b"0")]


def message(data: bytes, compressed: int = 0, size: int | None = None) -> bytes:
    return struct.pack(">BI", compressed, len(data) if size is None else size) + data


@contextlib.contextmanager
def serving(path: Path, serve: Callable[[socket.socket], None]) -> Iterator[Path]:
    """A socket whose first client is served."""

    def run() -> None:
        with contextlib.suppress(OSError), listening.accept()[0] as connection:
            serve(connection)
            while connection.recv(65536):  # until the client hangs up
                pass

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path / "s"))
        listening.listen()
        thread = threading.Thread(target=run)
        thread.start()
        yield path / "s"
        thread.join(20)
        assert not thread.is_alive()


def answering(data: bytes) -> Callable[[socket.socket], None]:
    """Answers the first call with these bytes and the status OK."""

    def serve(connection: socket.socket) -> None:
        http = ngh2.Connection(ngh2.Role.SERVER, ngh2.Configuration())
        http.initiate_connection({})
        asked = 0
        while not asked:
            connection.sendall(http.data_to_send())
            http.receive_data(connection.recv(65536))
            asked = max(
                (event.stream_id for event in http.events() if isinstance(event, ngh2.RequestReceived)), default=0
            )
        http.send_response(asked, HEADERS)
        if data:
            http.send_data(asked, data)
        http.send_trailers(asked, OK)
        connection.sendall(http.data_to_send())

    return serve


NONSENSE = [
    (answering(b""), "no response came"),
    (answering(message(b"one") + message(b"two")), "two responses came, one was expected"),
    (answering(message(b"one", compressed=1)), "a compressed message came"),
    (answering(message(b"one", size=4)), "a message ended in the middle"),
    (answering(message(b"one", size=2**32 - 1)), "a message ended in the middle"),
    (answering(b"\0\0"), "a message ended in the middle"),
    (lambda connection: connection.sendall(bytes(range(256))), "what came is no HTTP/2"),
    (lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "what came is no HTTP/2"),
    (lambda connection: connection.shutdown(socket.SHUT_RDWR), "the connection broke"),
]


@pytest.mark.parametrize(("serve", "said"), NONSENSE)
def test_a_call_that_is_answered_by_nonsense_says_so(
    tmp_path: Path, serve: Callable[[socket.socket], None], said: str
) -> None:
    with serving(tmp_path, serve) as path:
        channel = Channel(path)
        with pytest.raises(CallError, match=said):
            channel.call("/test/Echo", b"")
        channel.close()


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        (answering(b""), "no lease was granted"),
        (answering(message(b"\xff\xff")), "a response can't be read"),
        *NONSENSE[2:],
    ],
)
def test_so_does_a_lease(tmp_path: Path, serve: Callable[[socket.socket], None], said: str) -> None:
    with serving(tmp_path, serve) as path, pytest.raises(CallError, match=said):
        Lease(path, "a test", lambda: None)


def test_no_data_keeps_a_call_beyond_its_time(tmp_path: Path) -> None:
    def endless(connection: socket.socket) -> None:
        http = ngh2.Connection(ngh2.Role.SERVER, ngh2.Configuration())
        http.initiate_connection({})
        while True:
            http.ping()
            connection.sendall(http.data_to_send())

    with serving(tmp_path, endless) as path, pytest.raises(CallError, match="no answer came in time"):
        Channel(path).call("/test/Echo", b"", timeout=0.3)
