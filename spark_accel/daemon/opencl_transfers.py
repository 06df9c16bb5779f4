"""Two sets of buffers each way, so that one batch is copied in and another one out while a third is computed.

A set has buffers for all groups of a batch: nothing but the batch before the last is waited for.
"""

from collections.abc import Callable
from typing import Any

import numpy.typing as npt
import pyopencl as cl

from spark_accel.daemon.begun import Begun
from spark_accel.daemon.opencl_network_memory import NetworkMemory
from spark_accel.networks.plan import Float32

_SETS = 2


class BufferSet:
    """Buffers of the groups of a batch, `inputs` and `logits`, and what is on its way through them."""

    def __init__(
        self,
        memory: NetworkMemory,
        queues: tuple[cl.CommandQueue, cl.CommandQueue],
        groups: int,
        sizes: tuple[int, int],
    ) -> None:
        self._memory = memory
        self._to_device, self._from_device = queues
        self.inputs, self.logits = ([memory.buffer(size) for _ in range(groups)] for size in sizes)
        self._events: list[cl.Event] = []

    def copy_in(self, group: int, values: npt.NDArray[Any]) -> cl.Event:
        """Begins to copy a group's images, which stay as they are until it has ended."""
        event = cl.enqueue_copy(self._to_device, self.inputs[group], values, is_blocking=False)
        self._to_device.flush()
        self._events.append(event)  # a copy's event that nobody keeps is waited for
        return event

    def copy_out(self, group: int, logits: Float32, computed: cl.Event) -> None:
        """Has a group's logits copied when they are computed."""
        copied = cl.enqueue_copy(self._from_device, logits, self.logits[group], is_blocking=False, wait_for=[computed])
        self._events.append(copied)
        self._from_device.flush()

    def begun(self, made: Callable[[], Float32]) -> Begun[Float32]:
        """All of it, once everything is enqueued; `made` gives what it answers when it has ended."""
        events = list(self._events)

        def result() -> Float32:
            with self._memory.shortage_named():
                cl.wait_for_events(events)
                return made()

        return Begun(result, lambda: cl.wait_for_events(events))

    def take(self) -> None:
        """Has the set wait for the batch that it had."""
        if self._events:
            cl.wait_for_events(self._events)
            self._events.clear()


class Transfers:
    """Sets of buffers for batches of up to `groups` groups, which take `input_bytes` and `logit_bytes` each."""

    def __init__(self, memory: NetworkMemory, groups: int, input_bytes: int, logit_bytes: int) -> None:
        context, device = memory.queue.context, memory.queue.device
        queues = cl.CommandQueue(context, device), cl.CommandQueue(context, device)
        self._sets = [BufferSet(memory, queues, groups, (input_bytes, logit_bytes)) for _ in range(_SETS)]

    @staticmethod
    def wanted(groups: int, input_bytes: int, logit_bytes: int) -> int:
        """Bytes of the device's memory."""
        return _SETS * groups * (input_bytes + logit_bytes)

    def next(self) -> BufferSet:
        """The set for another batch; waits for the batch before the last."""
        self._sets.reverse()
        self._sets[0].take()
        return self._sets[0]
