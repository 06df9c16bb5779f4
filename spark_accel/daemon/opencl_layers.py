"""Runs a network by one kernel call a layer, which suits devices that take many work items a call.

What is called with what is decided by `network_steps.py`, which activations share memory by `activation_memory.py`. A
batch goes through the device in passes of as many images as activations may take.
"""

import numpy as np
import pyopencl as cl

from spark_accel.daemon.activation_memory import assign
from spark_accel.daemon.kernels import Tier
from spark_accel.daemon.network_steps import Step, steps
from spark_accel.daemon.opencl_network_memory import NetworkMemory, largest_buffer
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
        memory.require(self._pass * sum(sizes.sizes) + constants, self._pass * max(sizes.sizes), self._pass)
        with memory.shortage_named():
            _, self.images = memory.staging((max_batch, plan.height, plan.width, 3))
            buffers = [memory.buffer(size * self._pass) for size in sizes.sizes]
            self._activations = {name: buffers[number] for name, number in sizes.buffer.items()}
            self._logits = self._activations[plan.layers[-1].output] = memory.buffer(4 * plan.classes * self._pass)
            self._calls = [(self._kernel(step), step.grid) for step in calls]

    def run(self, n: int) -> Float32:
        """See Execution."""
        logits = np.empty((n, self._plan.classes), np.float32)
        for start in range(0, n, self._pass):
            part = slice(start, min(n, start + self._pass))
            self._enqueue(self._queue, part)
            cl.enqueue_copy(self._queue, logits[part], self._logits)
        return logits

    def profile(self, n: int) -> list[float]:
        """See Execution."""
        properties = cl.command_queue_properties.PROFILING_ENABLE
        queue = cl.CommandQueue(self._queue.context, self._queue.device, properties)
        seconds = np.zeros(len(self._calls))
        for start in range(0, n, self._pass):
            events = self._enqueue(queue, slice(start, min(n, start + self._pass)))
            queue.finish()
            seconds += [(event.profile.end - event.profile.start) * 1e-9 for event in events]
        return [float(one) for one in seconds]

    def activation(self, name: str, n: int) -> UInt8:
        """See Execution."""
        values = np.empty((n, *self._plan.shapes()[name]), np.uint8)
        cl.enqueue_copy(self._queue, values, self._activations[name])
        return values

    def _enqueue(self, queue: cl.CommandQueue, part: slice) -> list[cl.Event]:
        cl.enqueue_copy(queue, self._activations[INPUT], self.images[part])
        events = []
        for kernel, grid in self._calls:
            kernel.set_arg(0, np.int32(part.stop - part.start))
            items = grid.work_items(part.stop - part.start)
            events.append(cl.enqueue_nd_range_kernel(queue, kernel, items, self._local_size))
        return events

    def _kernel(self, step: Step) -> cl.Kernel:
        kernel = cl.Kernel(self._program, step.kernel)
        for index, argument in enumerate(step.arguments, start=1):
            if isinstance(argument, str):
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
