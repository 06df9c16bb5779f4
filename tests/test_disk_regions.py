"""Regions on disk: in the folder that a lease names, nowhere else, beyond the limit on memory, gone with the lease."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from conftest import eventually
from daemons import Daemon, running
from infer_requests import X4, placed, request, x
from tritonclient.grpc import service_pb2 as pb

from spark_accel.protocol import accel_pb2, accel_pb2_grpc


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), ("identity",), SPARK_ACCEL_MEMORY_LIMIT="64") as daemon:
        yield daemon


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir(mode=0o700)
    return folder


class Lease:
    """A lease that names a folder on disk, until `end`."""

    def __init__(self, daemon: Daemon, disk: str) -> None:
        message = accel_pb2.LeaseRequest(client="a test", disk_dir=disk)
        self._daemon = daemon
        self._call = accel_pb2_grpc.NodeStub(daemon.channel).Lease(message)
        self.id = next(self._call).lease
        self.metadata = [("spark-accel-lease", self.id)]

    def message(self, name: str, size: int) -> pb.SystemSharedMemoryRegisterRequest:
        return pb.SystemSharedMemoryRegisterRequest(name=name, key=f"disk:{name}", byte_size=size)

    def register(self, file: Path) -> None:
        message = self.message(file.name, file.stat().st_size)
        self._daemon.send("SystemSharedMemoryRegister", message, metadata=self.metadata)

    def refused(self, name: str, size: int = 16) -> tuple[str, str]:
        return self._daemon.refused("SystemSharedMemoryRegister", self.message(name, size), metadata=self.metadata)

    def end(self) -> None:
        self._call.cancel()


def test_a_region_on_disk_is_read_and_is_outside_of_the_limit_on_memory(daemon: Daemon, disk: Path) -> None:
    lease = Lease(daemon, str(disk))
    file = disk / f"{lease.id}-1"
    file.write_bytes(X4 + bytes(4096))

    lease.register(file)

    answer = daemon.infer(request(x(data=None, **placed(file.name, len(X4)))))
    assert answer.raw_output_contents[0] == X4
    lease.end()


def test_its_files_go_with_the_lease_and_others_stay(daemon: Daemon, disk: Path) -> None:
    lease = Lease(daemon, str(disk))
    mine, other = disk / f"{lease.id}-1", disk / "somebody-else"
    for file in (mine, other):
        file.write_bytes(bytes(16))
    lease.register(mine)

    lease.end()

    eventually(lambda: not mine.exists(), what="the file on disk goes with its lease")
    assert other.exists()


def test_only_files_in_the_folder_itself_are_taken(daemon: Daemon, disk: Path, tmp_path: Path) -> None:
    lease = Lease(daemon, str(disk))
    outside = tmp_path / "outside"
    outside.write_bytes(bytes(16))
    (disk / "link").symlink_to(outside)

    for name in ("../outside", "link", str(outside), "missing", ""):
        code, text = lease.refused(name)
        assert (code, "shared memory region" in text) == ("INTERNAL", True), name
    lease.end()


def test_a_lease_without_a_folder_has_no_regions_on_disk(daemon: Daemon) -> None:
    lease = Lease(daemon, "")

    code, text = lease.refused("a")

    assert (code, "named no disk_dir" in text) == ("INVALID_ARGUMENT", True)
    lease.end()


@pytest.mark.parametrize("kind", ["missing", "relative", "link", "file", "writable by others"])
def test_a_folder_that_is_not_the_users_alone_is_refused(daemon: Daemon, disk: Path, kind: str) -> None:
    place = str(disk)
    if kind == "missing":
        place += "/missing"
    elif kind == "relative":
        place = "disk"
    elif kind == "link":
        (disk / "link").symlink_to(disk)
        place += "/link"
    elif kind == "file":
        (disk / "file").touch()
        place += "/file"
    else:
        disk.chmod(0o777)

    with pytest.raises(grpc.RpcError) as raised:
        Lease(daemon, place)

    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert f"disk_dir '{place}'" in raised.value.details()
