"""One attachment to a daemon: what its end does to the calls that are under way. The daemon here falls silent."""
# ruff: noqa: ARG002, N802 - methods are gRPC's

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2_grpc

from spark_accel.connection import Again, Connection, Placed
from spark_accel.protocol import accel_pb2, accel_pb2_grpc
from spark_accel.settings import from_environment, override


class Silent(service_pb2_grpc.GRPCInferenceServiceServicer, accel_pb2_grpc.NodeServicer):
    """Grants a lease until it is told to end it, and never answers a request for a model."""

    def __init__(self) -> None:
        self.asked, self.ends, self.over = threading.Event(), threading.Event(), threading.Event()
        self.lost = threading.Event()

    def Lease(self, request: object, context: object) -> Iterator[accel_pb2.LeaseGrant]:
        yield accel_pb2.LeaseGrant(lease="one", memory_dir="/dev/shm", repository="/nowhere")
        self.ends.wait(60)

    def RepositoryModelLoad(self, request: object, context: object) -> object:
        self.asked.set()
        self.over.wait(60)
        raise AssertionError("it is silent")

    ModelInfer = RepositoryModelLoad


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[tuple[Silent, Connection]]:
    silent = Silent()
    server = grpc.server(ThreadPoolExecutor(4))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(silent, server)
    accel_pb2_grpc.add_NodeServicer_to_server(silent, server)
    server.add_insecure_port(f"unix:{tmp_path}/s")
    server.start()
    connection = Connection(override(from_environment({}), daemon_socket=f"{tmp_path}/s"), silent.lost.set)
    yield silent, connection
    connection.close()
    silent.over.set()
    server.stop(None).wait()


def load(connection: Connection) -> None:
    connection.load("model")


def infer(connection: Connection) -> None:
    connection.infer("model", [Placed("image", "UINT8", (1, 2, 2, 3), "region", 0, 12)], ("logits",), {})


REQUESTS = pytest.mark.parametrize("ask", [load, infer])


@REQUESTS
def test_no_request_waits_longer_than_the_lease_lasts(
    silent: tuple[Silent, Connection], ask: Callable[[Connection], None]
) -> None:
    daemon, connection = silent
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(ask, connection)
        assert daemon.asked.wait(20)

        daemon.ends.set()

        assert isinstance(call.exception(20), Again)


@REQUESTS
def test_what_is_asked_after_the_lease_is_asked_again(
    silent: tuple[Silent, Connection], ask: Callable[[Connection], None]
) -> None:
    daemon, connection = silent

    daemon.ends.set()
    assert daemon.lost.wait(20)

    assert not connection.alive
    with pytest.raises(Again):
        ask(connection)
    assert connection.unregister("region")
