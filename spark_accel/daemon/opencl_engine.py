"""Runs a network on the FPGA's engine: one launch of its stages takes a group of images through all layers.

What the stages are told is made by `spark_accel/fpga/program.py`. While a group runs, the next one's images are packed
and copied: there are two buffers each way.
"""

import time

import numpy as np
import pyopencl as cl

from spark_accel.daemon.board_program import reloaded
from spark_accel.daemon.kernels import Tier
from spark_accel.daemon.opencl_network_memory import NetworkMemory
from spark_accel.fpga.engine import Engine
from spark_accel.fpga.program import program as make_program
from spark_accel.fpga.stages import packed
from spark_accel.networks.plan import Float32, Plan, UInt8

_BUFFERS = 2


class EngineCalls:
    """A plan's program on the engine. See Execution in `opencl_network.py`; raises UnsupportedNetwork.

    `trips` are the iterations that the last run's kernels counted for each step: those of `maps` and of `array`.
    """

    def __init__(self, plan: Plan, tier: Tier, program: cl.Program, memory: NetworkMemory, max_batch: int) -> None:
        self._plan = plan
        self._memory = memory
        self._engine = engine = Engine.from_defines(tier.defines)
        self._group = group = min(tier.defines["GROUP"], max_batch)
        self.program = made = make_program(plan, engine, group)
        self.images: UInt8 = np.zeros((max_batch, plan.height, plan.width, 3), np.uint8)
        image = packed(self.images[:1], made.stages[0], engine).nbytes
        logits = made.stages[-1].tiles(engine) * engine.lanes
        constants = (made.steps, made.weights, made.parameters, made.pads)
        sizes = [one.nbytes for one in constants]
        memory.require(sum(sizes) + _BUFFERS * group * (image + 4 * logits), max(*sizes, group * image), group)
        with memory.shortage_named():
            steps, weights, parameters, pads = (memory.constant(one) for one in constants)
            self._packed = [memory.buffer(group * image) for _ in range(_BUFFERS)]
            self._logits = [memory.buffer(group * 4 * logits) for _ in range(_BUFFERS)]
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
        self.trips = np.zeros((2, len(made.steps)), np.uint32)

    def activate(self) -> None:
        """Gives the board the engine's program anew, from its binary."""
        self._program = reloaded(self._program, self._memory.queue.context)
        self._take(self._program)

    def _take(self, program: cl.Program) -> None:
        self._stages = {name: cl.Kernel(program, name) for name in self._arguments}
        count = np.int32(len(self.program.steps))
        for name, kernel in self._stages.items():
            kernel.set_arg(0, self._steps)
            kernel.set_arg(1, count)
            for index, argument in self._arguments[name].items():
                kernel.set_arg(index, argument)

    def run(self, n: int) -> Float32:
        """See Execution."""
        logits = np.empty((n, self._logits_of_image), np.float32)
        busy: list[list[cl.Event]] = [[] for _ in range(_BUFFERS)]
        for number, start in enumerate(range(0, n, self._group)):
            part = slice(start, min(n, start + self._group))
            pixels = packed(self.images[part], self.program.stages[0], self._engine)
            buffer = number % _BUFFERS
            if busy[buffer]:
                cl.wait_for_events(busy[buffer])
            busy[buffer] = self._enqueue(pixels, buffer, logits[part])
        for queue in (*self._queues.values(), self._memory.queue):
            queue.finish()
        for row, count in zip(self.trips, self._counts, strict=True):
            cl.enqueue_copy(self._memory.queue, row, count)
        return np.ascontiguousarray(logits[:, : self._plan.classes])

    def profile(self, n: int) -> list[float]:
        """See Execution: the time of the run, by the iterations that each layer took."""
        began = time.perf_counter()
        self.run(n)
        seconds = time.perf_counter() - began
        trips = self.trips.max(axis=0)
        by_layer = dict.fromkeys((layer.name for layer in self._plan.layers), 0.0)
        for stage, count in zip(self.program.stage_of_step, trips, strict=True):
            name = self.program.stages[stage or 0].name
            by_layer[name] += float(count) * seconds / float(trips.sum())
        return list(by_layer.values())

    def _enqueue(self, pixels: UInt8, buffer: int, logits: Float32) -> list[cl.Event]:
        """Copies a group in, runs it and copies its logits out; the events are those of the last of it."""
        there = cl.enqueue_copy(self._memory.queue, self._packed[buffer], pixels, is_blocking=False)
        self._memory.queue.flush()
        self._stages["maps"].set_arg(3, self._packed[buffer])
        self._stages["requantise"].set_arg(4, self._logits[buffer])
        ends = []
        for name, kernel in self._stages.items():
            kernel.set_arg(2, np.int32(len(pixels)))
            queue = self._queues[name]
            ends.append(cl.enqueue_nd_range_kernel(queue, kernel, (1,), (1,), wait_for=[there]))
            if name == "requantise":
                ends.append(cl.enqueue_copy(queue, logits, self._logits[buffer], is_blocking=False))
            queue.flush()
        return ends
