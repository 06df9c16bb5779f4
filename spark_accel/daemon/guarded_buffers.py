"""Memory for one tensor of a user's kernel, in which it is noticed when the kernel writes where it may not.

A kernel gets exactly the bytes of its tensor: as a part of a larger buffer whose ends hold a random pattern, or, of a
large input on the host's processor, where it lies in the client's region, mapped so that it can only be read.
"""

import contextlib
import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from spark_accel.daemon import opencl_buffers
from spark_accel.daemon.batch_request import Input, Place
from spark_accel.daemon.network import DeviceMemoryError

Bytes = npt.NDArray[np.uint8]
_GUARD = 2**16  # bytes on each side: a power of two above every device's alignment
_PATTERN: Bytes = np.frombuffer(os.urandom(_GUARD), np.uint8)  # no constant, which a kernel could write by chance
_ALIGNMENT = 128  # bytes: of OpenCL's longest vectors
_LEAST_IN_PLACE = 2**20  # bytes: smaller ones are copied sooner than mapped


class InPlace:
    """A tensor where it lies in a region. `part` is what a kernel is given; what writes there, ends the process."""

    def __init__(self, context: cl.Context, values: Bytes) -> None:
        self.part = opencl_buffers.in_place(context, values)

    def damage(self) -> str:
        """See Guarded: there is none."""
        return ""


def in_place(context: cl.Context, source: Input) -> InPlace | None:
    """An input where it lies, if the device can take it from there and it is worth while."""
    (device,) = context.devices
    place = source.source
    if not device.type & cl.device_type.CPU or not isinstance(place, Place) or place.size < _LEAST_IN_PLACE:
        return None
    mapped = place.mapped(0)  # None of a file that is too short, too: who copies it says so
    values = None if mapped is None else np.frombuffer(mapped, np.uint8, place.size)
    return None if values is None or values.ctypes.data % _ALIGNMENT else InPlace(context, values)


class Guarded:
    """Memory for `nbytes` bytes of tensor `name`, filled from `source` or with 0. Raises DeviceMemoryError.

    A kernel is given `part`. A tensor of no bytes has one that belongs to the guard.
    """

    def __init__(
        self, context: cl.Context, queue: cl.CommandQueue, name: str, nbytes: int, source: Input | None = None
    ) -> None:
        # The emulator's queues give a context that is none: it comes on its own.
        (device,) = context.devices
        self.name = name
        self._queue = queue
        self._nbytes = nbytes
        whole = nbytes + 2 * _GUARD
        if whole > device.max_mem_alloc_size:
            raise DeviceMemoryError(
                f"'{name}' takes {nbytes:,} bytes, and device '{device.name.strip()}' has at most"
                f" {device.max_mem_alloc_size:,} in one piece: send smaller tensors"
            )
        flags: int = cl.mem_flags.READ_ONLY if source is not None else cl.mem_flags.READ_WRITE
        if device.type & cl.device_type.CPU:  # the host's processor: bytes are read to where the kernel wants them
            flags |= cl.mem_flags.ALLOC_HOST_PTR
        self._buffer = cl.Buffer(context, flags, whole)
        with self._mapped(cl.map_flags.WRITE_INVALIDATE_REGION, 0, whole) as view:
            view[:_GUARD] = _PATTERN
            view[_GUARD + nbytes :] = _PATTERN
            if source is None:
                view[_GUARD : _GUARD + nbytes] = 0  # what a kernel does not write is the same each time
            elif nbytes:
                source.read_into(view[_GUARD : _GUARD + nbytes].data)
        self.part = self._buffer.get_sub_region(_GUARD, max(nbytes, 1))

    def damage(self) -> str:
        """Where the guards were written to, in words; empty if they are as they were."""
        with self._mapped(cl.map_flags.READ, 0, _GUARD) as before:
            written = np.flatnonzero(before != _PATTERN)
            if len(written):
                return f"{_GUARD - int(written[0])} bytes before its start"
        with self._mapped(cl.map_flags.READ, _GUARD + self._nbytes, _GUARD) as behind:
            written = np.flatnonzero(behind != _PATTERN)
            if len(written):
                return f"{int(written[0])} bytes behind its end" if written[0] else "right behind its end"
        return ""

    def read(self) -> bytes:
        """The tensor's bytes."""
        if not self._nbytes:
            return b""
        with self._mapped(cl.map_flags.READ, _GUARD, self._nbytes) as view:
            return view.tobytes()

    @contextlib.contextmanager
    def _mapped(self, flags: cl.map_flags, offset: int, length: int) -> Iterator[Bytes]:
        array, _ = cl.enqueue_map_buffer(self._queue, self._buffer, flags, offset, (length,), np.dtype(np.uint8))
        with array.base:
            yield array
