"""Sums of kernels over the rows of a partition: slice by slice on the device, then in the order of the slices.

Kernels and host agree on what `kernels/estimators/slices.h` says. A kernel `NAME` is for dense rows, `NAME_sparse` for
CSR. Slices are summed in passes, so that their partial sums take bounded memory however many rows there are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from spark_accel.daemon.opencl_buffers import Kept, constant, counter, require
from spark_accel.daemon.opencl_program import Argument, Program
from spark_accel.daemon.opencl_rows import Chunk, DeviceRows
from spark_accel.estimators.rows import stride
from spark_accel.estimators.sums import Float64, Int32, then

_PARTIAL_BYTES = 128 * 2**20  # of all slices of a pass
_PARTIAL_SHARE = 8  # of the device's memory they take this part at most, where slices are so large
_GROUP = 16  # doubles that a work item of add_slices adds; partial sums are filled up to a multiple of it


@dataclass(frozen=True)
class Call:
    """Kernel `name` of a program on `data`, with the kernel's own arguments behind those that all kernels get."""

    program: Program
    name: str
    data: DeviceRows
    parameters: tuple[Argument, ...]

    def enqueue(self, queue: cl.CommandQueue, chunk: Chunk, slices: range, partials: cl.Buffer, length: int) -> None:
        """Enqueues it for some slices of a chunk; each writes `length` doubles of `partials`, or
        a double a row where `length` is 0."""
        rows = self.data.rows
        self.program.enqueue(
            queue,
            f"{self.name}_sparse" if rows.sparse else self.name,
            work_items(queue.device, len(slices)),
            counter(queue),
            len(slices),
            slices.start,
            self.data.slice,
            chunk.span.rows,
            rows.features,
            stride(rows.features),
            chunk.values,
            chunk.indices,
            chunk.pointers,
            chunk.labels,
            chunk.weights,
            partials,
            length,
            *self.parameters,
        )


def work_items(device: cl.Device, slices: int) -> int:
    """How many work items take the slices, one after the other.

    PoCL has each thread fetch half of what is left, and one more: so of two a processor each thread gets one.
    """
    return min(slices, 2 * device.max_compute_units) if device.type & cl.device_type.CPU else slices


class Sums:
    """What adds up the partial sums of calls; `queue` runs them one after the other, `kept` has the memory for them."""

    def __init__(self, queue: cl.CommandQueue, kept: Kept) -> None:
        self._queue = queue
        self._kept = kept

    def total(
        self, call: Call, length: int, check: Callable[[Chunk], None] = lambda _: None, scratch_bytes: int = 0
    ) -> Callable[[], Float64]:
        """Enqueues a kernel and the sum over its slices; what this gives waits for that, float64 [length].

        `check` sees each chunk before the kernel does, and raises DataError. With `scratch_bytes` the kernel's last
        argument is a buffer of so many bytes a work item.
        """
        data, queue = call.data, self._queue
        length = -(-length // _GROUP) * _GROUP
        pass_slices = self._pass_slices(8 * length, scratch_bytes, -(-data.rows.rows // data.slice))
        partials = self._kept.get("partial sums", 8 * length * pass_slices)
        total = self._kept.get("sums", 8 * length)
        if scratch_bytes:
            scratch = self._kept.get("margins", scratch_bytes * work_items(queue.device, pass_slices))
            call = replace(call, parameters=(*call.parameters, scratch))
        first = 1
        for chunk in data:
            check(chunk)
            slices = -(-chunk.span.rows // data.slice)
            for start in range(0, slices, pass_slices):
                part = range(start, min(slices, start + pass_slices))
                call.enqueue(queue, chunk, part, partials, length)
                call.program.enqueue(queue, "add_slices", length // _GROUP, partials, len(part), length, total, first)
                first = 0
        found = np.empty(length)
        copies = [cl.enqueue_copy(queue, found, total, is_blocking=False)]
        return then(_waiting(queue, copies), lambda _: found)

    def _pass_slices(self, partial_bytes: int, scratch_bytes: int, slices: int) -> int:
        """How many slices of so many bytes go through at once: enough for all compute units, if they fit."""
        device, both = self._queue.device, partial_bytes + scratch_bytes
        fitting = device.max_mem_alloc_size // max(partial_bytes, scratch_bytes)
        units = min(device.max_compute_units, device.global_mem_size // _PARTIAL_SHARE // both)
        return max(1, min(slices, max(units, _PARTIAL_BYTES // both), fitting))

    def by_row(self, call: Call) -> Callable[[], tuple[Int32, Float64]]:
        """Enqueues a kernel that finds an index and a cost for each row; what this gives waits for them.

        They are int32 [rows] and float64 [rows].
        """
        data, queue = call.data, self._queue
        indices, costs = np.empty(data.rows.rows, np.int32), np.empty(data.rows.rows)
        copies = []
        for chunk in data:
            rows = slice(chunk.span.start, chunk.span.stop)
            index, cost = self._kept.get("nearest", 4 * chunk.span.rows), self._kept.get("costs", 8 * chunk.span.rows)
            one = replace(call, parameters=(*call.parameters, index))
            one.enqueue(queue, chunk, range(-(-chunk.span.rows // data.slice)), cost, 0)
            copies.append(cl.enqueue_copy(queue, indices[rows], index, is_blocking=False))
            copies.append(cl.enqueue_copy(queue, costs[rows], cost, is_blocking=False))
        return then(_waiting(queue, copies), lambda _: (indices, costs))


def _waiting(queue: cl.CommandQueue, events: Sequence[cl.Event]) -> Callable[[], None]:
    """Has the queue begin; what this gives waits for the events."""
    queue.flush()
    return lambda: cl.wait_for_events(events)


def coefficients(queue: cl.CommandQueue, matrix: Float64, program: Program, sparse: bool) -> cl.Buffer:
    """Sets of coefficients [sets, features] as kernels/estimators/scores.h wants them, in the program's type.

    Raises DeviceMemoryError: of a few sets the lanes of a vector make many times as many bytes.
    """
    sets, features = matrix.shape
    blocks = -(-sets // program.lanes)
    shape = blocks * program.lanes, features if sparse else -(-features // 4) * 4
    require(queue.device, "coefficients or centres", prod(shape) * program.real.itemsize)
    padded = np.zeros(shape, program.real)
    with np.errstate(over="ignore"):
        padded[:sets, :features] = matrix
    return constant(queue, padded.T if sparse else padded.reshape(blocks, program.lanes, -1).transpose(0, 2, 1))


def biases(values: Float64, program: Program) -> npt.NDArray[Any]:
    """A bias a set, as kernels/estimators/scores.h wants it."""
    found = np.full(-(-len(values) // program.lanes) * program.lanes, -limit(program), program.real)
    with np.errstate(over="ignore"):
        found[: len(values)] = values
    return found


def limit(program: Program) -> float:
    """What kernels/estimators/real.h calls LIMIT."""
    return 1e290 if program.real.itemsize == 8 else 1e30
