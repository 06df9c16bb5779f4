"""The memory of a region on the client's side: a file in `memory.dir` that is mapped here and read by the workers.

Its pages are allocated when it is made, so that a full file system is an error then, and never a SIGBUS later. A shared
`flock` on it tells daemons that its owner lives (`daemon/leases.py`). Registering it is the client's.
"""

import fcntl
import mmap
import os
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spark_accel.errors import RegionMemoryError


class RegionFile:
    """`size` bytes of shared memory in a new file at `path`. Raises RegionMemoryError if they can't be had."""

    def __init__(self, path: Path, size: int) -> None:
        if size < 1:
            raise ValueError(f"a region of {size} bytes; expected at least 1")
        self.path = path
        self.size = size
        self._pid = os.getpid()
        try:
            self._descriptor, mapping = _create(path, size)
        except OSError as error:
            raise RegionMemoryError(
                f"{size:,} bytes of shared memory are wanted in {path.parent}, which has {_free(path.parent)}: {error};"
                " make room there, or set spark.accel.memory.dir to another folder"
            ) from error
        self.array: npt.NDArray[np.uint8] = np.frombuffer(mapping, np.uint8)

    def delete(self) -> None:
        """Deletes the file, if this process made it; the memory is free when the last array on it is gone."""
        if os.getpid() == self._pid:
            self.path.unlink(missing_ok=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self.array = np.empty(0, np.uint8)


def _create(path: Path, size: int) -> tuple[int, mmap.mmap]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        os.posix_fallocate(descriptor, 0, size)
        return descriptor, mmap.mmap(descriptor, size)
    except OSError:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        raise


def _free(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free:,} free"
    except OSError:
        return "no such folder"
