"""Runs a network on the FPGA's engine: one launch of its stages takes a group of images through all layers.

What the stages are told is made by `spark_accel/fpga/program.py`. While a group runs, the next one's images are packed
and copied, be they of the same batch or of the next.
"""

import time

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from spark_accel.daemon.begun import Begun
from spark_accel.daemon.board_program import reloaded_kernels
from spark_accel.daemon.kernels import Tier
from spark_accel.daemon.opencl_network_memory import NetworkMemory
from spark_accel.daemon.opencl_transfers import BufferSet, Transfers
from spark_accel.fpga.engine import Engine
from spark_accel.fpga.program import program as make_program
from spark_accel.fpga.stages import packed
from spark_accel.networks.plan import Float32, Plan, UInt8


class EngineCalls:
    """A plan's program on the engine. See Execution in `opencl_network.py`; raises UnsupportedNetwork."""

    def __init__(self, plan: Plan, tier: Tier, program: cl.Program, memory: NetworkMemory, max_batch: int) -> None:
        self._plan = plan
        self._memory = memory
        self._macros = tier.defines
        self._engine = engine = Engine.from_defines(tier.defines)
        self._group = group = min(tier.defines["GROUP"], max_batch)
        self.program = made = make_program(plan, engine, group)
        self.images: UInt8 = np.zeros((max_batch, plan.height, plan.width, 3), np.uint8)
        image = packed(self.images[:1], made.stages[0], engine).nbytes
        logits = made.stages[-1].tiles(engine) * engine.lanes
        constants = (made.steps, made.weights, made.parameters, made.pads)
        sizes = [one.nbytes for one in constants]
        transferred = -(-max_batch // group), group * image, group * 4 * logits
        memory.require(sum(sizes) + Transfers.wanted(*transferred), max(*sizes, group * image), max_batch)
        with memory.shortage_named():
            steps, weights, parameters, pads = (memory.constant(one) for one in constants)
            self._transfers = Transfers(memory, *transferred)
            self._counts = [memory.buffer(4 * len(made.steps)) for _ in ("maps", "array")]
        self._logits_of_image = logits
        self._arguments = {
            "maps": {4: pads, 5: self._counts[0]},
            "weights": {3: weights},
            "array": {3: self._counts[1]},
            "requantise": {3: parameters},
            "pool": {3: parameters},
        }
        self._steps = steps
        self._queues = {name: cl.CommandQueue(memory.queue.context, memory.queue.device) for name in self._arguments}
        self._program = program
        self._take(program)

    def activate(self) -> None:
        """Gives the board the engine's program anew, from its binary."""
        self._program = reloaded_kernels(self._program, self._memory.queue.context, self._macros)
        self._take(self._program)

    def _take(self, program: cl.Program) -> None:
        self._stages = {name: cl.Kernel(program, name) for name in self._arguments}
        count = np.int32(len(self.program.steps))
        for name, kernel in self._stages.items():
            kernel.set_arg(0, self._steps)
            kernel.set_arg(1, count)
            for index, argument in self._arguments[name].items():
                kernel.set_arg(index, argument)

    def begin(self, n: int) -> Begun[Float32]:
        """See Execution."""
        logits = np.empty((n, self._logits_of_image), np.float32)
        batch = self._transfers.next()
        for group, start in enumerate(range(0, n, self._group)):
            part = slice(start, min(n, start + self._group))
            pixels = packed(self.images[part], self.program.stages[0], self._engine)
            self._enqueue(batch, group, pixels, logits[part])
        return batch.begun(lambda: np.ascontiguousarray(logits[:, : self._plan.classes]))

    @property
    def trips(self) -> npt.NDArray[np.uint32]:
        """The iterations that the last run's kernels counted for each step: those of `maps` and of `array`."""
        found = np.empty((len(self._counts), len(self.program.steps)), np.uint32)
        for queue in self._queues.values():
            queue.finish()
        for row, count in zip(found, self._counts, strict=True):
            cl.enqueue_copy(self._memory.queue, row, count)
        return found

    def profile(self, n: int) -> list[float]:
        """See Execution: the time of the run, by the iterations that each layer took."""
        began = time.perf_counter()
        self.begin(n).result()
        seconds = time.perf_counter() - began
        trips = self.trips.max(axis=0)
        by_layer = dict.fromkeys((layer.name for layer in self._plan.layers), 0.0)
        for stage, count in zip(self.program.stage_of_step, trips, strict=True):
            name = self.program.stages[stage or 0].name
            by_layer[name] += float(count) * seconds / float(trips.sum())
        return list(by_layer.values())

    def _enqueue(self, batch: BufferSet, group: int, pixels: UInt8, logits: Float32) -> None:
        """Copies a group in, runs it and copies its logits out."""
        there = batch.copy_in(group, pixels)
        self._stages["maps"].set_arg(3, batch.inputs[group])
        self._stages["requantise"].set_arg(4, batch.logits[group])
        for name, kernel in self._stages.items():
            kernel.set_arg(2, np.int32(len(pixels)))
            queue = self._queues[name]
            ended = cl.enqueue_nd_range_kernel(queue, kernel, (1,), (1,), wait_for=[there])
            queue.flush()
            if name == "requantise":
                batch.copy_out(group, logits, ended)
