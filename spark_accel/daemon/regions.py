"""The registered shared-memory regions: which file, which part of it, whose lease, and its open descriptor.

Nothing is mapped here and nothing is read: workers do that, with descriptors that the scheduler hands them. A region is
a plain file of the daemon's own user, directly in the folder `memory.dir` or, under a key `disk:NAME`, in the folder on
disk that the lease named; no link is followed. Every bound is checked by subtraction against the region's own size. The
file's size can change afterwards, so workers check it again at use.
"""

import mmap
import os
import resource
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from grpc import StatusCode
from tritonclient.grpc import service_pb2 as pb

from spark_accel.daemon.request import RegionSlice, RequestError

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_DISK_PREFIX = "disk:"
_RESERVED_PREFIX = "triton_python_backend_shm_region_"
_MAX_NAME = 1024
_ADDRESS_SPACE = 2**64


@dataclass(frozen=True)
class Region:
    """A registered region: `size` bytes at `offset` of the open file `descriptor`. `number` is never used twice."""

    number: int
    name: str
    key: str
    offset: int
    size: int
    lease: str
    descriptor: int

    @property
    def on_disk(self) -> bool:
        """Whether it takes no memory."""
        return self.key.startswith(_DISK_PREFIX)


class Regions:
    """The table of regions. `limit` is how many bytes one lease may hold; clients without a lease share one limit.

    `in_use(number)` says whether a queued or running request uses a region; `closed(number)` is called when its
    descriptor has been closed here, so that workers close theirs.
    """

    def __init__(self, folder: Path, limit: int, in_use: Callable[[int], bool], closed: Callable[[int], None]) -> None:
        self._folder = folder
        self._limit = limit
        self._in_use = in_use
        self._closed = closed
        self._next = 1
        self._by_name: dict[str, Region] = {}
        self._disks: dict[str, Path] = {}  # by lease: the folder of its regions on disk
        self._open: dict[int, Region] = {}  # also those that `drop_lease` left to the requests that run on them
        # Sockets and pipes need descriptors too: a client that registers without end must not use them all up.
        self._most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2

    def allow_disk(self, lease: str, folder: Path) -> None:
        """Lets the lease have regions in a folder on disk, too; raises RequestError unless only this user may write."""
        try:
            facts = folder.lstat()
        except (OSError, ValueError) as error:
            raise _invalid(f"disk_dir '{folder}' can't be used: {error}") from None
        if not folder.is_absolute() or not stat.S_ISDIR(facts.st_mode):
            raise _invalid(f"disk_dir '{folder}' is no folder, or not an absolute path")
        if facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
            raise _invalid(f"disk_dir '{folder}' must belong to user {os.geteuid()} and be writable by nobody else")
        self._disks[lease] = folder

    def register(self, name: str, key: str, offset: int, size: int, lease: str = "") -> None:
        """Opens the file `key` and registers `size` bytes at `offset` of it as `name`; raises RequestError."""
        if name in self._by_name:
            raise RequestError(StatusCode.ALREADY_EXISTS, f"shared memory region '{name}' already in manager")
        if len(name) > _MAX_NAME:
            raise _invalid(f"the name of a shared memory region may have {_MAX_NAME} characters, got {len(name)}")
        folder, file = self._place(name, key, lease)
        if any(region.key == key for region in self._by_name.values()):
            raise RequestError(StatusCode.INTERNAL, f"Invalid shared memory region: '{key}'")
        if len(self._open) >= self._most:
            raise _exhausted(f"{len(self._open)} shared memory regions are registered; unregister some before '{name}'")
        descriptor = _open_file(folder / file, key)
        region = Region(self._next, name, key, offset, size, lease, descriptor)
        try:
            _check_extent(name, offset, size, os.fstat(descriptor).st_size)
            held = sum(one.size for one in self._open.values() if one.lease == lease and not one.on_disk)
            if not region.on_disk and size > self._limit - held:
                raise _exhausted(
                    f"shared memory region '{name}' of {size} bytes is more than this client may hold: {held} of"
                    f" {self._limit} bytes are in use (setting spark.accel.memory.limit)"
                )
        except RequestError:
            os.close(descriptor)
            raise
        self._next += 1
        self._by_name[name] = self._open[region.number] = region

    def slice(self, name: str, offset: int, size: int) -> RegionSlice:
        """`size` bytes at `offset` of region `name`, as a request asks for them; raises RequestError."""
        region = self._by_name.get(name)
        if region is None:
            raise RequestError(StatusCode.NOT_FOUND, f"Unable to find shared memory region: '{name}'")
        if not 0 <= offset < region.size:
            raise _invalid(f"Invalid offset for shared memory region: '{name}'")
        if not 0 < size <= region.size - offset:
            raise _invalid(f"Invalid offset + byte size for shared memory region: '{name}'")
        return RegionSlice(region.number, region.offset + offset, size)

    def descriptor(self, number: int) -> int:
        """The open file of a region; it stays open while a request uses the region. KeyError: it is gone."""
        return self._open[number].descriptor

    def unregister(self, name: str, lease: str = "") -> None:
        """Forgets region `name`, or for an empty name all of a lease's (of none without one).

        One that a request uses stays and raises RequestError.
        """
        if name:
            region = self._by_name.get(name)
            if region is not None and self._in_use(region.number):
                text = f"Cannot unregister shared memory region '{name}', it is currently in use."
                raise RequestError(StatusCode.INTERNAL, text)
            if region is not None:
                self._forget(region)
            return
        own = [region for region in self._by_name.values() if region.lease == lease]
        busy = [region for region in own if self._in_use(region.number)]
        for region in set(own).difference(busy):
            self._forget(region)
        if busy:
            names = "".join(f"{region.name} ," for region in busy)
            text = f"Failed to unregister the following system shared memory regions: {names}"
            raise RequestError(StatusCode.INTERNAL, text)

    def drop_lease(self, lease: str) -> None:
        """Forgets the regions of a lease that has ended; those in use are closed when their last request has ended."""
        for region in [region for region in self._by_name.values() if region.lease == lease]:
            del self._by_name[region.name]
        self._disks.pop(lease, None)
        self.sweep()

    def sweep(self) -> None:
        """Closes what is registered no longer and used no longer. The scheduler calls it when requests have ended."""
        if len(self._open) == len(self._by_name):
            return
        named = {region.number for region in self._by_name.values()}
        for region in [region for region in self._open.values() if region.number not in named]:
            if not self._in_use(region.number):
                self._close(region)

    def status(self, name: str) -> pb.SystemSharedMemoryStatusResponse:
        """The registered region `name`, or all for an empty name; raises RequestError for an unknown one."""
        if name and name not in self._by_name:
            raise RequestError(StatusCode.NOT_FOUND, f"Unable to find system shared memory region: '{name}'")
        answer = pb.SystemSharedMemoryStatusResponse()
        for region in [self._by_name[name]] if name else self._by_name.values():
            entry = answer.regions[region.name]
            entry.name, entry.key, entry.offset, entry.byte_size = region.name, region.key, region.offset, region.size
        return answer

    def close(self) -> None:
        """Closes every descriptor, at the end of the daemon."""
        for region in list(self._open.values()):
            self._close(region)
        self._by_name.clear()

    def _forget(self, region: Region) -> None:
        del self._by_name[region.name]
        self._close(region)

    def _close(self, region: Region) -> None:
        del self._open[region.number]
        os.close(region.descriptor)
        self._closed(region.number)

    def _place(self, name: str, key: str, lease: str) -> tuple[Path, str]:
        if not key.startswith(_DISK_PREFIX):
            return self._folder, _file_name(name, key)
        if lease not in self._disks:
            raise _invalid(f"region '{name}' has the key '{key}', and its lease named no disk_dir")
        return self._disks[lease], _file_name(name, key.removeprefix(_DISK_PREFIX))


def _open_file(path: Path, key: str) -> int:
    refusal = RequestError(StatusCode.INTERNAL, f"Unable to open shared memory region: '{key}'")
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError:
        raise refusal from None
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
        os.close(descriptor)
        raise refusal
    return descriptor


def _file_name(name: str, key: str) -> str:
    """The file that a key names: one plain file name, slashes before it ignored."""
    file = key.lstrip("/")
    if key and not file:
        raise _invalid(f"failed to register shared memory region '{name}': invalid shm key '{key}'")
    if file.startswith(_RESERVED_PREFIX):
        raise _invalid(
            f"cannot register shared memory region '{name}' with key '{key}' as the key contains the reserved prefix"
            f" '{_RESERVED_PREFIX}'"
        )
    if file in ("", ".", "..") or "/" in file or "\0" in file:
        raise RequestError(StatusCode.INTERNAL, f"Unable to open shared memory region: '{key}'")
    return file


def _check_extent(name: str, offset: int, size: int, file_size: int) -> None:
    failed = f"failed to register shared memory region '{name}': "
    if size >= _ADDRESS_SPACE - offset:
        raise _invalid(f"{failed}Integer overflow detected: offset {offset} + byte size {size} exceeds 64 bits")
    if size > file_size - offset:
        raise _invalid(f"{failed}invalid args")
    if size == 0 or offset % mmap.PAGESIZE:
        raise _invalid(f"{failed}unable to process address spaceInvalid argument")  # Triton's own text


def _invalid(message: str) -> RequestError:
    return RequestError(StatusCode.INVALID_ARGUMENT, message)


def _exhausted(message: str) -> RequestError:
    return RequestError(StatusCode.RESOURCE_EXHAUSTED, message)
