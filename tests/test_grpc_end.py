"""The gRPC server's end: whoever has called, or is about to, is told."""

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from conftest import eventually
from grpc import StatusCode
from grpc_service import RawClient, Running, running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as server:
        yield server


def test_calls_that_run_when_the_server_stops_are_unavailable(server: Running) -> None:
    call = server.channel.unary_unary("/test/Hang").future(b"")
    eventually(lambda: server.service.log == ["hangs"])

    server.stop_server()

    error = call.exception(20)
    assert (error.code().name, error.details()) == ("UNAVAILABLE", "Server exiting")


def test_a_call_that_the_server_did_not_read_before_its_end_is_unavailable(tmp_path: Path) -> None:
    """With a GOAWAY at the end, grpcio waits for most of these calls forever."""
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        with running(folder) as server:
            server.stop_server_at_the_first_call()
            call = server.channel.unary_stream("/test/Count")(b"1")

            assert ended(call)
            assert call.code() == StatusCode.UNAVAILABLE


def test_answers_that_are_not_read_yet_outlive_the_server(server: Running) -> None:
    with RawClient(server.path) as client:
        stream = client.call("Echo", bytes(100_000))
        client.send()
        while not client.received[stream]:
            client.read()

        stopped = server.stop_server()
        eventually(lambda: not server.path.exists())
        client.make_room(stream, 2**20)

        assert client.status(stream) == "OK"
        assert client.received[stream] == 100_005
        stopped.result(20)


def test_a_client_that_never_reads_does_not_keep_the_server(server: Running) -> None:
    with RawClient(server.path) as client:
        client.call("Echo", bytes(100_000))
        client.send()
        client.read()

        server.stop_server().result(20)


def ended(call: grpc.Call) -> bool:
    """Whether the call ends within 20 s."""
    end = threading.Event()
    return not call.add_callback(end.set) or end.wait(20)
