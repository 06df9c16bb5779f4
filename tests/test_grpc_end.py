"""The gRPC server's end: whoever has called, or is about to, is told."""

from collections.abc import Iterator
from pathlib import Path

import ngh2
import pytest
from conftest import eventually
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


def test_the_end_is_not_announced(server: Running) -> None:
    """After a GOAWAY grpcio waits forever for a call that it had just sent."""
    with RawClient(server.path) as client:
        client.send()
        eventually(lambda: server.connected)
        server.stop_server().result(20)
        while not client.hung_up:
            client.read()

    assert not [event for event in client.events if isinstance(event, ngh2.GoAwayReceived)]


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
