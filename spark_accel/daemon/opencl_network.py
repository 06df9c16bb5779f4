"""A network on an OpenCL device: one kernel call a layer, activations in device memory from the first to the last.

What is called with what is decided by `network_steps.py`, which activations share memory by `activation_memory.py`.
The batch is staged in host memory that the driver allocates, which devices read fastest, and goes through the device in
passes of as many images as activations may take.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyopencl as cl

from spark_accel.daemon import kernels
from spark_accel.daemon.activation_memory import assign
from spark_accel.daemon.devices import properties
from spark_accel.daemon.network import DeviceMemoryError, Network
from spark_accel.daemon.network_steps import Array, Step, steps
from spark_accel.networks.plan import INPUT, Float32, Plan, UInt8

_PASS_BYTES = 64 * 2**20  # of activations: more images at once are no faster, and leave the processor's caches
_LARGEST_BUFFER = 2**31 - 1  # kernels count in int
_SLACK = 64  # bytes behind each activation: kernels read whole vectors


@dataclass(frozen=True)
class _Built:
    """What all networks of a device share."""

    context: cl.Context
    tier: kernels.Tier
    program: cl.Program
    local_size: tuple[int, int] | None


@cache
def _built(device: cl.Device) -> _Built:
    tier = kernels.select(kernels.tiers(kernels.folder() / "network"), properties(device))
    context = cl.Context([device])
    # pyopencl's own cache of binaries is not safe for several processes; drivers have theirs.
    program = cl.Program(context, tier.text())
    program.build(options=tier.build_options(), cache_dir=False)  # type: ignore[arg-type]
    # A CPU's work items are best left alone: vectors are explicit in the kernels.
    local_size = (1, 1) if device.type & cl.device_type.CPU else None
    return _Built(context, tier, program, local_size)


class OpenCLNetwork(Network):
    """A valid `plan` on `device`, bit for bit the numpy reference. See `Network` for how a batch is staged and run.

    Making it compiles the kernels, packs the weights and runs once, so that nothing is left for the first batch.
    Raises DeviceMemoryError where it does not fit, KernelError where no kernels suit the device.
    """

    def __init__(self, plan: Plan, device: cl.Device, max_batch: int) -> None:
        super().__init__(plan, max_batch)
        self._built = _built(device)
        self._queue = cl.CommandQueue(self._built.context)
        self._buffers: list[cl.Buffer] = []  # a kernel keeps none of its arguments alive
        memory = assign(plan)
        calls = steps(plan, self._built.tier)
        self._pass = _images_per_pass(memory.sizes, max_batch, device)
        self._wanted = self._pass * sum(memory.sizes) + _constant_bytes(calls)
        self._require_memory(self._pass * max(memory.sizes), device)
        with self._out_of_memory_named(device):
            self._images = self._map_staging()
            buffers = [self._buffer(size * self._pass) for size in memory.sizes]
            self._activations = {name: buffers[number] for name, number in memory.buffer.items()}
            self._logits = self._activations[plan.layers[-1].output] = self._buffer(4 * plan.classes * self._pass)
            self._calls = [(self._kernel(step), step.grid) for step in calls]
            self._run_staged(1)

    @property
    def _staging(self) -> UInt8:
        return self._images

    def _run_staged(self, n: int) -> Float32:
        logits = np.empty((n, self.plan.classes), np.float32)
        queue = self._queue
        with self._out_of_memory_named(queue.device):
            for start in range(0, n, self._pass):
                part = slice(start, min(n, start + self._pass))
                cl.enqueue_copy(queue, self._activations[INPUT], self._images[part])
                for kernel, grid in self._calls:
                    kernel.set_arg(0, np.int32(part.stop - start))
                    cl.enqueue_nd_range_kernel(
                        queue, kernel, grid.work_items(part.stop - start), self._built.local_size
                    )
                cl.enqueue_copy(queue, logits[part], self._logits)
        return logits

    def _kernel(self, step: Step) -> cl.Kernel:
        kernel = cl.Kernel(self._built.program, step.kernel)
        for index, argument in enumerate(step.arguments, start=1):
            if isinstance(argument, str):
                kernel.set_arg(index, self._activations[argument])
            elif isinstance(argument, np.ndarray):
                kernel.set_arg(index, self._constant(argument))
            else:
                kernel.set_arg(index, None if argument is None else np.int32(argument))
        return kernel

    def _map_staging(self) -> UInt8:
        shape = (self.max_batch, self.plan.height, self.plan.width, 3)
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.ALLOC_HOST_PTR
        buffer = self._keep(cl.Buffer(self._built.context, flags, math.prod(shape)))
        access: Any = cl.map_flags.READ | cl.map_flags.WRITE
        images: UInt8 = cl.enqueue_map_buffer(self._queue, buffer, access, 0, shape, np.dtype(np.uint8))[0]
        images[:] = 0
        return images

    def _buffer(self, size: int) -> cl.Buffer:
        return self._keep(cl.Buffer(self._built.context, cl.mem_flags.READ_WRITE, size + _SLACK))

    def _constant(self, values: Array) -> cl.Buffer:
        flags = cl.mem_flags.READ_ONLY | cl.mem_flags.COPY_HOST_PTR
        return self._keep(cl.Buffer(self._built.context, flags, hostbuf=values))

    def _keep(self, buffer: cl.Buffer) -> cl.Buffer:
        self._buffers.append(buffer)
        return buffer

    def _require_memory(self, largest: int, device: cl.Device) -> None:
        if largest > _largest_buffer(device) or self._wanted > device.global_mem_size:
            raise DeviceMemoryError(self._memory_message(device, f"a buffer of {_mebibytes(largest)} among them"))

    @contextlib.contextmanager
    def _out_of_memory_named(self, device: cl.Device) -> Iterator[None]:
        try:
            yield
        except cl.MemoryError as error:
            raise DeviceMemoryError(self._memory_message(device, str(error))) from error

    def _memory_message(self, device: cl.Device, detail: str) -> str:
        return (
            f"the network wants {_mebibytes(self._wanted)} of the memory of device '{device.name}' for {self._pass} "
            f"images at once ({detail}); the device has {_mebibytes(device.global_mem_size)}, at most "
            f"{_mebibytes(_largest_buffer(device))} a buffer: unload other models or choose another device"
        )


def _images_per_pass(sizes: tuple[int, ...], max_batch: int, device: cl.Device) -> int:
    """How many images the buffers, of so many bytes an image, take at once; at least 1."""
    fitting = min(_PASS_BYTES // sum(sizes), _largest_buffer(device) // max(sizes))
    return max(1, min(max_batch, fitting))


def _largest_buffer(device: cl.Device) -> int:
    return min(int(device.max_mem_alloc_size), _LARGEST_BUFFER) - _SLACK


def _constant_bytes(calls: list[Step]) -> int:
    return sum(one.nbytes for step in calls for one in step.arguments if isinstance(one, np.ndarray))


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
