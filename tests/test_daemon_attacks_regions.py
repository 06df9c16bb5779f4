"""Attacks by regions of shared memory: keys, files, extents. All are refused, and the daemon goes on after each."""

import os
from collections.abc import Iterator

import pytest
from daemons import MEMORY, PREFIX, Daemon, goes_on, region, region_file, running
from infer_requests import X4, placed, request, x, y

PAGE = os.sysconf("SC_PAGESIZE")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), ("identity",)) as daemon:
        yield daemon


@pytest.fixture(autouse=True)
def _the_daemon_goes_on(daemon: Daemon) -> Iterator[None]:
    yield
    goes_on(daemon)


def register_refused(daemon: Daemon, key: str, size: int = 64, offset: int = 0) -> tuple[str, str]:
    return daemon.refusal("SystemSharedMemoryRegister", name="attack", key=key, offset=offset, byte_size=size)


@pytest.mark.parametrize("slashes", ["", "/", "//"])
def test_regions_of_a_server_are_reserved(daemon: Daemon, slashes: str) -> None:
    key = f"{slashes}triton_python_backend_shm_region_0"

    code, message = register_refused(daemon, key)

    assert code == "INVALID_ARGUMENT"
    assert message.startswith(f"cannot register shared memory region 'attack' with key '{key}' as the key contains")


@pytest.mark.parametrize("key", ["/", "///"])
def test_a_key_of_slashes_only_is_invalid(daemon: Daemon, key: str) -> None:
    code, message = register_refused(daemon, key)

    assert code == "INVALID_ARGUMENT"
    assert "invalid shm key" in message


@pytest.mark.parametrize(
    "key", ["", ".", "/..", "/../shm/FILE", "/sub/FILE", "FILE/", "/etc/passwd", "FILE\0x", "absent", "n" * 300]
)
def test_a_key_is_one_plain_file_name(daemon: Daemon, key: str) -> None:
    with region_file("plain", bytes(64)) as file:
        key = key.replace("FILE", file.name)

        assert register_refused(daemon, key) == ("INTERNAL", f"Unable to open shared memory region: '{key}'")


@pytest.mark.parametrize("kind", ["symbolic link", "folder", "FIFO", "socket"])
def test_a_key_names_a_regular_file(daemon: Daemon, kind: str) -> None:
    path = MEMORY / f"{PREFIX}odd"
    with region_file("target", bytes(64)) as target:
        if kind == "symbolic link":
            path.symlink_to(target)
        elif kind == "folder":
            path.mkdir()
        elif kind == "FIFO":
            os.mkfifo(path)
        else:
            os.mknod(path, 0o140600)
        try:
            assert register_refused(daemon, path.name)[0] == "INTERNAL"
        finally:
            path.rmdir() if kind == "folder" else path.unlink()


def test_a_device_is_no_region(daemon: Daemon) -> None:
    path = MEMORY / f"{PREFIX}device"
    try:
        os.mknod(path, 0o020600, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("device files can be made by root only")
    try:
        assert register_refused(daemon, path.name)[0] == "INTERNAL"
    finally:
        path.unlink()


def test_a_file_of_another_user_is_no_region(daemon: Daemon) -> None:
    with region_file("foreign", bytes(64)) as file:
        try:
            os.chown(file, os.geteuid() + 1, -1)
        except PermissionError:
            pytest.skip("files can be given away by root only")

        assert register_refused(daemon, file.name)[0] == "INTERNAL"


@pytest.mark.parametrize(("size", "offset"), [(2**64 - 1, 1), (64, 2**64 - 64), (2**64 - 1, 2**64 - 1)])
def test_an_extent_that_wraps_is_refused_at_registration(daemon: Daemon, size: int, offset: int) -> None:
    with region_file("wrap", bytes(64)) as file:
        code, message = register_refused(daemon, file.name, size, offset)

    assert code == "INVALID_ARGUMENT"
    assert "Integer overflow detected" in message


@pytest.mark.parametrize(("size", "offset"), [(2**63 - 1, 2**63 - 1), (2**63 - 1, 1), (16, -8), (-(2**63), 0)])
def test_an_extent_that_wraps_is_refused_in_requests(daemon: Daemon, size: int, offset: int) -> None:
    with region(daemon, "a", bytes(64)):
        as_input = daemon.infer_refused(request(x(data=None, **placed("a", size, offset))))
        as_output = daemon.infer_refused(request(x(), outputs=[y(**placed("a", size, offset))]))

    assert (as_input[0], as_output[0]) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")


def test_the_offset_of_a_region_does_not_count_twice(daemon: Daemon) -> None:
    """In Triton 2.51 these requests reach a page beyond the region."""
    with region(daemon, "second", bytes(PAGE) + X4 * (PAGE // 16) + b"secret" * PAGE, PAGE):
        daemon.call("SystemSharedMemoryUnregister", name="second")
        key = f"{PREFIX}second"
        daemon.call("SystemSharedMemoryRegister", name="second", key=key, offset=PAGE, byte_size=PAGE)

        last = daemon.infer(request(x(data=None, **placed("second", 16, PAGE - 16))))
        beyond = daemon.infer_refused(request(x(data=None, **placed("second", 16, PAGE))))

    assert last.raw_output_contents == [X4]
    assert beyond == ("INVALID_ARGUMENT", "Invalid offset for shared memory region: 'second'")


def test_a_file_cut_after_registration_is_refused_and_ends_nothing(daemon: Daemon) -> None:
    with region(daemon, "cut", X4 * 512) as file:
        os.truncate(file, 4096)
        within = daemon.infer(request(x(data=None, **placed("cut", 16))))
        as_input = daemon.infer_refused(request(x(data=None, **placed("cut", 16, 4096))))
        as_output = daemon.infer_refused(request(x(), outputs=[y(**placed("cut", 16, 4096))]))

    assert within.raw_output_contents == [X4]
    assert (as_input[0], as_output[0]) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    assert file.name not in as_input[1] + as_output[1]
