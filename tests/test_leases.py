"""A lease: what is named after it, what ends with it, and what outlives it."""

import fcntl
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest
from conftest import eventually
from daemons import MEMORY, Daemon, arrived, region_file, running, slow_request
from infer_requests import X4, placed, request, x
from nodes import end_daemon, node
from tritonclient.grpc import service_pb2 as pb

from spark_accel import launch
from spark_accel.protocol import accel_pb2, accel_pb2_grpc


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path, ("slow",)) as daemon:
        yield daemon


class Lease:
    """A lease on the daemon, until `end`."""

    def __init__(self, daemon: Daemon) -> None:
        self._call = accel_pb2_grpc.NodeStub(daemon.channel).Lease(accel_pb2.LeaseRequest(client="a test"))
        self.grant = next(self._call)
        self.id = self.grant.lease
        self.metadata = [("spark-accel-lease", self.id)]

    def end(self) -> None:
        self._call.cancel()


@contextmanager
def region(daemon: Daemon, lease: Lease, number: int = 1) -> Iterator[Path]:
    """A registered region of the lease; gives its file, which is gone afterwards."""
    with file_of(lease.id, number) as file:
        message = pb.SystemSharedMemoryRegisterRequest(name=file.name, key=file.name, byte_size=4096)
        daemon.send("SystemSharedMemoryRegister", message, metadata=lease.metadata)
        yield file


@contextmanager
def file_of(lease: str, number: int = 1) -> Iterator[Path]:
    path = MEMORY / f"{lease}-{number}"
    path.write_bytes(bytes(4096))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def held(daemon: Daemon) -> list[str]:
    answer = accel_pb2_grpc.NodeStub(daemon.channel).Leases(accel_pb2.LeasesRequest(), timeout=30)
    return [one.lease for one in answer.leases]


def registered(daemon: Daemon) -> set[str]:
    return set(daemon.call("SystemSharedMemoryStatus").regions)


def test_the_grant_says_where_regions_and_models_are(daemon: Daemon) -> None:
    grant = Lease(daemon).grant

    assert (grant.memory_dir, grant.repository) == ("/dev/shm", str(daemon.repository))
    assert grant.lease.startswith("spark-accel-")


def test_leases_are_listed_as_long_as_they_are_held(daemon: Daemon) -> None:
    first, second = Lease(daemon), Lease(daemon)

    assert held(daemon) == [first.id, second.id]
    first.end()
    eventually(lambda: held(daemon) == [second.id])


def test_the_end_of_a_lease_frees_its_regions_and_deletes_its_files(daemon: Daemon) -> None:
    ending, staying = Lease(daemon), Lease(daemon)
    with region(daemon, ending) as file, file_of(ending.id, 2) as unregistered, region(daemon, staying) as other:
        assert registered(daemon) == {file.name, other.name}

        ending.end()

        eventually(lambda: not file.exists() and not unregistered.exists())
        assert registered(daemon) == {other.name}
        assert other.exists()


def test_who_unregisters_all_unregisters_what_is_their_own(daemon: Daemon) -> None:
    lease = Lease(daemon)
    with region(daemon, lease) as own, region_file("free", X4) as free:
        daemon.call("SystemSharedMemoryRegister", name="free", key=free.name, byte_size=4)
        daemon.call("SystemSharedMemoryUnregister")  # as examples of Triton's clients begin

        assert set(daemon.call("SystemSharedMemoryStatus").regions) == {own.name}
        everything = pb.SystemSharedMemoryUnregisterRequest()
        daemon.send("SystemSharedMemoryUnregister", everything, metadata=lease.metadata)
        assert not daemon.call("SystemSharedMemoryStatus").regions
    lease.end()


def test_the_end_of_a_lease_drops_its_queued_requests(daemon: Daemon) -> None:
    lease = Lease(daemon)
    with region_file("running", X4) as file, file_of(lease.id) as other:
        running = slow_request(daemon, file, delay_ms=3000)
        message = request(x(data=None, **placed(other.name, 16)), model="slow")
        options = {"timeout": 30, "metadata": lease.metadata}
        queued = arrived(daemon, other, lambda: daemon.stub.ModelInfer.future(message, **options))

        lease.end()

        assert queued.exception().code() == grpc.StatusCode.CANCELLED
        assert queued.exception().details() == f"lease '{lease.id}' has ended"
        assert not running.done()
        running.result()


def test_calls_that_name_a_lease_that_nobody_holds_are_refused(daemon: Daemon) -> None:
    message = request(x(), model="slow")

    refused = daemon.refused("ModelInfer", message, metadata=[("spark-accel-lease", "spark-accel-none")])

    assert refused == ("UNAVAILABLE", "lease 'spark-accel-none' is not held; take a new one")


def test_a_file_that_its_owner_has_locked_stays_until_the_owner_has_gone(daemon: Daemon) -> None:
    lease = Lease(daemon)
    with region(daemon, lease) as file:
        with file.open("rb") as owner:
            fcntl.flock(owner, fcntl.LOCK_SH)
            lease.end()
            eventually(lambda: registered(daemon) == set())
            assert file.exists()
        eventually(lambda: not file.exists())


def test_a_daemon_sweeps_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    with node(tmp_path) as settings:
        launch.ensure(settings)
        with grpc.insecure_channel(settings.daemon_address) as channel:
            lease = next(accel_pb2_grpc.NodeStub(channel).Lease(accel_pb2.LeaseRequest())).lease
        end_daemon(settings, signal.SIGKILL)
        with (
            file_of(lease) as left,
            file_of(lease, 2) as alive,
            file_of("spark-accel-00000000-00000000") as foreign,
            alive.open("rb") as owner,
        ):
            fcntl.flock(owner, fcntl.LOCK_SH)

            launch.ensure(settings)

            eventually(lambda: not left.exists())
            assert alive.exists()
            assert foreign.exists()


def test_a_client_that_sends_much_does_not_keep_another_waiting(daemon: Daemon) -> None:
    flood, other = Lease(daemon), Lease(daemon)
    answered: list[str] = []

    def send(lease: Lease, name: str, file: Path) -> grpc.Future:
        tensor = x(data=None, **placed(file.name, 16))
        message = request(tensor, model="slow", delay_ms=100)
        call = arrived(daemon, file, lambda: daemon.stub.ModelInfer.future(message, metadata=lease.metadata))
        call.add_done_callback(lambda _: answered.append(name))
        return call

    with ExitStack() as files:
        made = [files.enter_context(region_file(f"fair-{number}", X4)) for number in range(8)]
        held_up = slow_request(daemon, made[0], 1000)
        calls = [send(flood, "flood", file) for file in made[1:7]]
        calls.append(send(other, "other", made[7]))
        for call in (held_up, *calls):
            call.result(timeout=60)

    eventually(lambda: len(answered) == 7)
    assert answered.index("other") <= 1
