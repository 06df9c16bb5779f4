"""Runs a network by one kernel call a layer, which suits devices that take many work items a call.

What is called with what is decided by `network_steps.py`, which activations share memory by `activation_memory.py`. A
batch goes through the device in passes of as many images as activations may take; while one is computed, the next one's
images are copied.
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pyopencl as cl

from spark_accel.daemon.activation_memory import assign
from spark_accel.daemon.begun import Begun
from spark_accel.daemon.kernels import Tier
from spark_accel.daemon.network_steps import Step, steps
from spark_accel.daemon.opencl_network_memory import NetworkMemory, largest_buffer
from spark_accel.daemon.opencl_transfers import BufferSet, Transfers
from spark_accel.networks.plan import INPUT, Float32, Plan, UInt8

_PASS_BYTES = 64 * 2**20  # of activations: more images at once are no faster, and leave the processor's caches


class LayerCalls:
    """A plan's kernels with their arguments. See Execution in `opencl_network.py`."""

    def __init__(self, plan: Plan, tier: Tier, program: cl.Program, memory: NetworkMemory, max_batch: int) -> None:
        self._plan = plan
        self._queue = queue = memory.queue
        self._program = program
        self._memory = memory
        # A CPU's work items are best left alone: vectors are explicit in the kernels.
        self._local_size = (1, 1) if queue.device.type & cl.device_type.CPU else None
        sizes = assign(plan)
        calls = steps(plan, tier)
        self._pass = _images_per_pass(sizes.sizes, max_batch, queue.device)
        constants = sum(one.nbytes for step in calls for one in step.arguments if isinstance(one, np.ndarray))
        image = plan.height * plan.width * 3
        transferred = -(-max_batch // self._pass), self._pass * image, self._pass * 4 * plan.classes
        wanted = self._pass * sum(sizes.sizes) + constants + Transfers.wanted(*transferred)
        memory.require(wanted + max_batch * image, max(self._pass * max(sizes.sizes), max_batch * image), max_batch)
        with memory.shortage_named():
            _, self.images = memory.staging((max_batch, plan.height, plan.width, 3))
            self._transfers = Transfers(memory, *transferred)
            buffers = [memory.buffer(size * self._pass) for size in sizes.sizes]
            self._activations = {name: buffers[number] for name, number in sizes.buffer.items()}
            self._ends: dict[str, list[tuple[cl.Kernel, int]]] = defaultdict(list)  # arguments that change, by name
            self._calls = [(self._kernel(step), step.grid) for step in calls]

    def begin(self, n: int) -> Begun[Float32]:
        """See Execution."""
        logits = np.empty((n, self._plan.classes), np.float32)
        batch = self._transfers.next()
        copied = [self._enqueue(self._queue, batch, number, part, logits)[0] for number, part in self._passes(n)]
        cl.wait_for_events(copied)  # other images may be staged from here on
        return batch.begun(lambda: logits)

    def profile(self, n: int) -> list[float]:
        """See Execution."""
        properties = cl.command_queue_properties.PROFILING_ENABLE
        queue = cl.CommandQueue(self._queue.context, self._queue.device, properties)
        seconds = np.zeros(len(self._calls))
        logits = np.empty((n, self._plan.classes), np.float32)
        batch = self._transfers.next()
        for number, part in self._passes(n):
            _, *events = self._enqueue(queue, batch, number, part, logits)
            queue.finish()
            seconds += [(event.profile.end - event.profile.start) * 1e-9 for event in events]
        return [float(one) for one in seconds]

    def activation(self, name: str, n: int) -> UInt8:
        """What an activation held after a batch of one pass: for tests."""
        values = np.empty((n, *self._plan.shapes()[name]), np.uint8)
        cl.enqueue_copy(self._queue, values, self._activations[name])
        return values

    def _passes(self, n: int) -> Iterator[tuple[int, slice]]:
        return ((start // self._pass, slice(start, min(n, start + self._pass))) for start in range(0, n, self._pass))

    def _enqueue(
        self, queue: cl.CommandQueue, batch: BufferSet, number: int, part: slice, logits: Float32
    ) -> list[cl.Event]:
        """Copies a pass in, runs it and copies its logits out; the events are the copy's and the kernels'."""
        events = [batch.copy_in(number, self.images[part])]
        for name, buffers in ((INPUT, batch.inputs), (self._plan.layers[-1].output, batch.logits)):
            for kernel, index in self._ends[name]:
                kernel.set_arg(index, buffers[number])
        for kernel, grid in self._calls:
            kernel.set_arg(0, np.int32(part.stop - part.start))
            items = grid.work_items(part.stop - part.start)
            wait_for = events if len(events) == 1 else None  # the queue is in order: of the images only
            events.append(cl.enqueue_nd_range_kernel(queue, kernel, items, self._local_size, wait_for=wait_for))
        queue.flush()
        batch.copy_out(number, logits[part], events[-1])
        return events

    def _kernel(self, step: Step) -> cl.Kernel:
        kernel = cl.Kernel(self._program, step.kernel)
        for index, argument in enumerate(step.arguments, start=1):
            if isinstance(argument, str) and argument in {INPUT, self._plan.layers[-1].output}:
                self._ends[argument].append((kernel, index))
            elif isinstance(argument, str):
                kernel.set_arg(index, self._activations[argument])
            elif isinstance(argument, np.ndarray):
                kernel.set_arg(index, self._memory.constant(argument))
            else:
                kernel.set_arg(index, None if argument is None else np.int32(argument))
        return kernel


def _images_per_pass(sizes: tuple[int, ...], max_batch: int, device: cl.Device) -> int:
    """How many images the buffers, of so many bytes an image, take at once; at least 1."""
    fitting = min(_PASS_BYTES // sum(sizes), largest_buffer(device) // max(sizes))
    return max(1, min(max_batch, fitting))
