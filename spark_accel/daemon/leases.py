"""The leases of clients, and what is freed when one ends: queued requests, regions, and the files of regions.

A client holds a lease by a call that it keeps open. Its region files are named after the lease, and the lease after the
daemon's socket, so that a daemon knows the files that a killed one left, and no other's. A living client keeps a shared
`flock` on its files: they stay, also under another daemon than the one that named them. What nobody locks goes.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import secrets
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from spark_accel.daemon.regions import Regions
from spark_accel.daemon.scheduler import Scheduler
from spark_accel.protocol import accel_pb2
from spark_accel.settings import Settings

_log = logging.getLogger(__name__)

_DELAY, _LONGEST_DELAY = 0.05, 5.0  # seconds between looks at files that are still locked


@dataclass(frozen=True)
class _Lease:
    client: str
    since: float
    disk: Path | None  # where its regions may lie besides the daemon's own folder


class Leases:
    """The leases of the daemon with these settings."""

    def __init__(self, settings: Settings, scheduler: Scheduler, regions: Regions) -> None:
        self._prefix = f"spark-accel-{hashlib.sha256(os.fsencode(settings.daemon_socket)).hexdigest()[:8]}-"
        self._memory = settings.memory_dir
        self._grant = accel_pb2.LeaseGrant(
            memory_dir=str(settings.memory_dir),
            repository=str(settings.repository),
            device=settings.device,
            kernels=settings.kernels,
        )
        self._scheduler = scheduler
        self._regions = regions
        self._held: dict[str, _Lease] = {}
        self._last_end = time.monotonic()
        self._collecting: asyncio.Task[None] | None = None
        self._ended = False

    async def hold(self, client: str, disk: str = "") -> AsyncGenerator[accel_pb2.LeaseGrant, None]:
        """Grants a lease, which lasts until the generator is closed or cancelled.

        `disk` is a folder where its regions may lie, too; raises RequestError if it can't be used.
        """
        lease = self._prefix + secrets.token_hex(4)
        if disk:
            self._regions.allow_disk(lease, Path(disk))
        self._held[lease] = _Lease(client, time.time(), Path(disk) if disk else None)
        _log.info("lease %s: %s", lease, client)
        try:
            grant = accel_pb2.LeaseGrant(lease=lease)
            grant.MergeFrom(self._grant)
            yield grant
            await asyncio.Event().wait()
        finally:
            self._end(lease)

    def known(self, lease: str) -> bool:
        """Whether the lease is held."""
        return lease in self._held

    def facts(self) -> list[accel_pb2.LeaseFacts]:
        """The leases that are held, the oldest first."""
        return [
            accel_pb2.LeaseFacts(lease=name, client=lease.client, since=int(lease.since))
            for name, lease in self._held.items()
        ]

    def idle_seconds(self) -> float:
        """How long no lease has been held; 0.0 while one is."""
        return 0.0 if self._held else time.monotonic() - self._last_end

    def collect(self) -> None:
        """Starts to delete region files of this socket that belong to no lease and no living client."""
        if self._collecting is not None:
            self._collecting.cancel()
        self._collecting = asyncio.create_task(self._collect())

    async def close(self) -> None:
        """Ends the work on files. Those of clients that still live are left to the next daemon."""
        self._ended = True
        if self._collecting is not None:
            self._collecting.cancel()
            await asyncio.gather(self._collecting, return_exceptions=True)
        self._delete_ownerless()

    def _end(self, lease: str) -> None:
        disk = self._held.pop(lease).disk
        self._last_end = time.monotonic()
        _log.info("lease %s has ended", lease)
        self._scheduler.drop_lease(lease)
        self._regions.drop_lease(lease)
        if disk is not None:
            _delete_all(disk, lease)
        if not self._ended:
            self.collect()

    async def _collect(self) -> None:
        # A killed client's socket may be closed before its files are: locks are looked at again for a while. A client
        # that lives and lost its lease takes another one and keeps its files, which ends the looking, too.
        delay = _DELAY
        while self._delete_ownerless() and delay < _LONGEST_DELAY:
            await asyncio.sleep(delay)
            delay *= 2

    def _delete_ownerless(self) -> bool:
        """Deletes what nobody locks; True if something of no lease is left because it is locked."""
        left = False
        with contextlib.suppress(OSError):  # no such folder: no files
            for entry in os.scandir(self._memory):
                if entry.name.startswith(self._prefix) and not self._belongs(entry.name):
                    left = not _delete(Path(entry.path)) or left
        return left

    def _belongs(self, file: str) -> bool:
        return file[: len(self._prefix) + 8] in self._held


def _delete_all(folder: Path, prefix: str) -> None:
    """Deletes the files in `folder` whose names start so."""
    with contextlib.suppress(OSError):  # the client may have deleted the folder
        for entry in os.scandir(folder):
            if entry.name.startswith(prefix):
                _delete(Path(entry.path))


def _delete(path: Path) -> bool:
    """Deletes the file unless a process has locked it; True if it is gone or nobody's we could delete."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            return True
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    _log.info("deleted the region file %s", path.name)
    return True
