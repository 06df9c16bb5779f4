"""The memory that one network takes on a device: buffers, and errors that say how much was wanted."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from spark_accel.daemon.network import DeviceMemoryError
from spark_accel.daemon.network_program import SLACK
from spark_accel.networks.plan import UInt8

_LARGEST_BUFFER = 2**31 - 1  # kernels count in int


class NetworkMemory:
    """Gives buffers for work on `queue` and keeps them, since a kernel keeps none of its arguments alive."""

    def __init__(self, queue: cl.CommandQueue) -> None:
        self.queue = queue
        self._buffers: list[cl.Buffer] = []
        self._wanted = ""

    def clear(self) -> None:
        """Gives all buffers back, of which no kernel may be left."""
        self._buffers.clear()

    def require(self, total: int, largest: int, images: int) -> None:
        """Raises DeviceMemoryError where the device has not `total` bytes, or allows no buffer of `largest`.

        From here on, that is what errors say the network wants, for so many `images` at once.
        """
        device = self.queue.device
        self._wanted = f"wants {_mebibytes(total)} of the memory of device '{device.name}' for {images} images at once"
        if largest > largest_buffer(device) or total > device.global_mem_size:
            raise DeviceMemoryError(self._message(f"a buffer of {_mebibytes(largest)} among them"))

    @contextlib.contextmanager
    def shortage_named(self) -> Iterator[None]:
        """Turns the driver's error for memory that it can't give into DeviceMemoryError."""
        try:
            yield
        except cl.MemoryError as error:
            raise DeviceMemoryError(self._message(str(error))) from error

    def buffer(self, nbytes: int) -> cl.Buffer:
        """Memory for `nbytes` and SLACK."""
        return self._keep(cl.Buffer(self.queue.context, cl.mem_flags.READ_WRITE, nbytes + SLACK))

    def constant(self, values: npt.NDArray[Any]) -> cl.Buffer:
        """A tensor, copied."""
        flags = cl.mem_flags.READ_ONLY | cl.mem_flags.COPY_HOST_PTR
        return self._keep(cl.Buffer(self.queue.context, flags, hostbuf=values))

    def staging(self, shape: tuple[int, ...]) -> tuple[cl.Buffer, UInt8]:
        """Memory for images that host and device can read, mapped for the host, and the array there, all 0."""
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.ALLOC_HOST_PTR
        buffer = self._keep(cl.Buffer(self.queue.context, flags, math.prod(shape) + SLACK))
        access: Any = cl.map_flags.READ | cl.map_flags.WRITE
        images: UInt8 = cl.enqueue_map_buffer(self.queue, buffer, access, 0, shape, np.dtype(np.uint8))[0]
        images[:] = 0
        return buffer, images

    def _keep(self, buffer: cl.Buffer) -> cl.Buffer:
        self._buffers.append(buffer)
        return buffer

    def _message(self, detail: str) -> str:
        device = self.queue.device
        return (
            f"the network {self._wanted} ({detail}); the device has {_mebibytes(device.global_mem_size)}, at most "
            f"{_mebibytes(largest_buffer(device))} a buffer: unload other models or choose another device"
        )


def largest_buffer(device: cl.Device) -> int:
    """The most bytes that a buffer may have, its SLACK not counted."""
    return min(int(device.max_mem_alloc_size), _LARGEST_BUFFER) - SLACK


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
