"""The estimators' stages on an FPGA: a family's kernels, which run side by side and send each other what they make.

What they are given is up to `fpga_kmeans.py`, `fpga_logistic.py` and `fpga_naive_bayes.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from spark_accel.daemon import quiet_build
from spark_accel.daemon.board_program import reloaded_kernels
from spark_accel.daemon.kernels import Tier
from spark_accel.daemon.opencl_buffers import Kept
from spark_accel.daemon.opencl_rows import Chunk
from spark_accel.estimators.rows import stride
from spark_accel.estimators.sums import Float64
from spark_accel.fpga.estimator_trips import Shape

Argument = cl.Buffer | np.generic | None
_COUNT = np.dtype(np.uint64)  # of iterations


class Stages:
    """The stages of one family, `names`, compiled when this is made, unless their `program` is there already.

    `queue` is the engine's, in whose order they run.

    `trips` are the iterations that each made in the last call whose answer was waited for.
    """

    def __init__(
        self,
        queue: cl.CommandQueue,
        kept: Kept,
        tier: Tier,
        names: Sequence[str],
        *,
        program: cl.Program | None = None,
    ) -> None:
        self.queue = queue
        self.kept = kept
        self.defines = tier.defines
        self.shape = Shape.of(tier.source.parent.name, tier.defines)
        if program is None:
            program = quiet_build.build(cl.Program(queue.context, tier.text()), tier.build_options())
        self._program = program
        self.kernels = {name: cl.Kernel(program, name) for name in names}
        self.queues = {name: cl.CommandQueue(queue.context, queue.device) for name in names}
        self.trips: dict[str, int] = {}

    def activate(self) -> None:
        """Gives the board the stages' program anew."""
        self._program = reloaded_kernels(self._program, self.queue.context, self.defines)
        self.kernels = {name: cl.Kernel(self._program, name) for name in self.kernels}

    def by_feature(self, values: Float64) -> Float64:
        """Numbers [..., width], float64, as beats: filled up with zeros."""
        width = values.shape[-1]
        filled = np.zeros((*values.shape[:-1], self.shape.beats(width) * self.shape.vec))
        filled[..., :width] = values
        return filled

    def by_group(self, matrix: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A matrix [sets, features] as the array has it, [group, beat, vec, lane] of the matrix's type."""
        shape = self.shape
        sets, features = matrix.shape
        groups, beats = shape.groups(sets), shape.beats(stride(features))
        filled = np.zeros((groups * shape.lanes, beats * shape.vec), matrix.dtype)
        filled[:sets, :features] = matrix
        return np.ascontiguousarray(filled.reshape(groups, shape.lanes, beats, shape.vec).transpose(0, 2, 3, 1))


class Run:
    """A call: launches of stages that belong together, a chunk each, and what is read of their buffers.

    It is in the order of the engine's queue: stages wait for what was enqueued there before, and what is enqueued later
    waits for them. So buffers can be used again, and no two families' stages wait for each other's.
    """

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._reads: list[cl.Event] = []
        self._counts: list[dict[str, npt.NDArray[np.uint64]]] = []

    def launch(self, arguments: Mapping[str, Sequence[Argument]]) -> None:
        """Enqueues stages, each with its arguments; the last one, for the count of iterations, is added."""
        queue = self._stages.queue
        ready = cl.enqueue_marker(queue)
        queue.flush()
        ends = []
        counts = {name: self.buffer(f"iterations of {name}", _COUNT.itemsize) for name in arguments}
        for name, given in arguments.items():
            kernel = self._stages.kernels[name]
            for index, argument in enumerate((*given, counts[name])):
                kernel.set_arg(index, argument)
            own = self._stages.queues[name]
            ends.append(cl.enqueue_nd_range_kernel(own, kernel, (1,), (1,), wait_for=[ready]))
            own.flush()
        cl.enqueue_barrier(queue, wait_for=ends)
        self._counts.append({name: self.read(count, _COUNT, 1) for name, count in counts.items()})

    def buffer(self, purpose: str, nbytes: int) -> cl.Buffer:
        """A buffer for the stages' answers, the same for each launch; raises DeviceMemoryError."""
        return self._stages.kept.get(purpose, nbytes)

    def read(self, buffer: cl.Buffer, dtype: npt.DTypeLike, length: int) -> npt.NDArray[Any]:
        """What the last launch left in a buffer; it is there when `wait` has returned."""
        found = np.empty(length, dtype)
        self.read_into(buffer, found)
        return found

    def read_into(self, buffer: cl.Buffer, out: npt.NDArray[Any]) -> None:
        """The same, into memory that there is."""
        self._reads.append(cl.enqueue_copy(self._stages.queue, out, buffer, is_blocking=False))

    def wait(self) -> None:
        """Until all is read."""
        self._stages.queue.flush()
        cl.wait_for_events(self._reads)
        self._stages.trips = {name: sum(int(count[name][0]) for count in self._counts) for name in self._counts[0]}


def sizes(chunk: Chunk, beats: int) -> tuple[Argument, Argument]:
    """What most stages are given first: how many rows there are, of how many beats."""
    return np.int32(chunk.span.rows), np.int32(beats)
