"""Device memory for the estimators' kernels: buffers, refused by name where the device can't have them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from spark_accel.daemon.network import DeviceMemoryError


def require(device: cl.Device, purpose: str, nbytes: int) -> None:
    """Raises DeviceMemoryError where a buffer would be larger than the device allows."""
    if nbytes > device.max_mem_alloc_size:
        raise DeviceMemoryError(
            f"{purpose} take {nbytes:,} bytes that must lie together in the memory of device '{device.name}', which"
            f" allows {device.max_mem_alloc_size:,}: use partitions of fewer rows, fewer clusters or classes"
        )


def buffer(queue: cl.CommandQueue, purpose: str, nbytes: int) -> cl.Buffer:
    """A buffer of at least one byte; raises DeviceMemoryError where it is larger than the device allows."""
    device = queue.device
    require(device, purpose, nbytes)
    flags: int = cl.mem_flags.READ_WRITE
    if device.type & cl.device_type.CPU:  # the host's processor: rows are read to where the kernels want them
        flags |= cl.mem_flags.ALLOC_HOST_PTR
    return cl.Buffer(queue.context, flags, max(nbytes, 1))


def in_place(context: cl.Context, values: npt.NDArray[Any]) -> cl.Buffer:
    """An array in the host's memory as a buffer of a device that computes there."""
    flags = cl.mem_flags.READ_ONLY | cl.mem_flags.USE_HOST_PTR
    return cl.Buffer(context, flags, hostbuf=values)


def constant(queue: cl.CommandQueue, values: npt.NDArray[Any]) -> cl.Buffer:
    """An array in device memory; raises DeviceMemoryError where it is larger than the device allows."""
    require(queue.device, "coefficients or centres", values.nbytes)
    flags = cl.mem_flags.READ_ONLY | cl.mem_flags.COPY_HOST_PTR
    return cl.Buffer(queue.context, flags, hostbuf=np.ascontiguousarray(values))


def counter(queue: cl.CommandQueue) -> cl.Buffer:
    """An int in device memory for kernels to count with, 0 at first."""
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    return cl.Buffer(queue.context, flags, hostbuf=np.zeros(1, np.int32))


@contextlib.contextmanager
def mapped(queue: cl.CommandQueue, to: cl.Buffer, dtype: npt.DTypeLike, length: int) -> Iterator[npt.NDArray[Any]]:
    """The first `length` elements of a buffer as an array to be written; what was in it is lost."""
    if length == 0:  # OpenCL maps no empty regions
        yield np.empty(0, dtype)
        return
    flags = cl.map_flags.WRITE_INVALIDATE_REGION
    array, _ = cl.enqueue_map_buffer(queue, to, flags, 0, (length,), np.dtype(dtype))
    with array.base:
        yield array


class Kept:
    """Buffers that are used again from call to call, one a purpose, as large as the largest use so far."""

    def __init__(self, queue: cl.CommandQueue) -> None:
        self._queue = queue
        self._buffers: dict[str, cl.Buffer] = {}

    def get(self, purpose: str, nbytes: int) -> cl.Buffer:
        """The buffer for a purpose, of at least `nbytes`; raises DeviceMemoryError."""
        kept = self._buffers.get(purpose)
        if kept is None or kept.size < nbytes:
            self._buffers.pop(purpose, None)  # before the larger one takes its room
            kept = self._buffers[purpose] = buffer(self._queue, purpose, nbytes)
        return kept
