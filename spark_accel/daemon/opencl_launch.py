"""Runs a whole network in one launch, on a device that is the host's own processor: `kernels/network/x86_network.h`.

Images are read where they are staged. What the launch is told about the network is `network_program.py`'s.
"""

import time
from math import prod

import numpy as np
import pyopencl as cl

from spark_accel.daemon.begun import Begun
from spark_accel.daemon.kernels import Tier
from spark_accel.daemon.network_program import IMAGES_A_GROUP, program
from spark_accel.daemon.opencl_network_memory import NetworkMemory
from spark_accel.networks.plan import Float32, Plan, UInt8

_PROGRESS_BYTES = 128  # of progress_t
_COUNT, _CAPACITY, _PROGRESS, _NEXT_PROGRESS, _USED, _TICKS = 0, 10, 15, 16, 17, 18  # arguments that change


def group_size(n: int, threads: int) -> int:
    """Images a group of a batch of `n`: so many that each thread has a group, and all groups are about alike."""
    groups = -(-n // min(IMAGES_A_GROUP, -(-n // threads)))
    return -(-n // groups)


def largest_group(max_batch: int, threads: int) -> int:
    """The most images a group that a batch of up to `max_batch` has: not always those of the largest one."""
    full = threads * IMAGES_A_GROUP  # groups of larger batches are no larger
    return max(group_size(n, threads) for n in range(1, min(max_batch, full) + 1))


class NetworkLaunch:
    """A plan's tables in device memory. See Execution in `opencl_network.py`.

    `by_winograd` are the outputs of the layers that are made by Winograd's algorithm.
    """

    def __init__(
        self,
        plan: Plan,
        tier: Tier,
        built: cl.Program,
        memory: NetworkMemory,
        max_batch: int,
        *,
        by_winograd: frozenset[str],
    ) -> None:
        self._plan = plan
        self._memory = memory  # as long as the kernel may run
        self._queue = queue = memory.queue
        self._threads = queue.device.max_compute_units
        self._tables = tables = program(plan, tier, by_winograd, self._threads)
        self._arena = tables.image_bytes + tables.group_bytes * largest_group(max_batch, self._threads)
        arenas = self._arena * min(self._threads, max_batch)
        rooms = self._threads * tables.room_bytes
        images = max_batch * plan.height * plan.width * 3
        sizes = (arenas, rooms, tables.constants.nbytes, images, 4 * plan.classes * max_batch)
        memory.require(sum(sizes), max(sizes), max_batch)
        with memory.shortage_named():
            staging, self.images = memory.staging((max_batch, plan.height, plan.width, 3))
            self._logits = memory.buffer(4 * plan.classes * max_batch)
            self._arenas = memory.buffer(arenas)
            self._ticks = memory.buffer(8 * (len(plan.layers) + 1))
            # A launch finds one of these all 0 and leaves the other so.
            size = (1 + max_batch) * _PROGRESS_BYTES
            self._progress = [memory.buffer(size), memory.buffer(size)]
            self._used = [0, 0]  # of each, those that are not 0
            for progress in self._progress:
                cl.enqueue_fill_buffer(queue, progress, np.zeros(1, np.int32), 0, size)
            self._kernel = cl.Kernel(built, "network")
            self._kernel.set_args(
                np.int32(0),
                staging,
                self._logits,
                memory.constant(tables.layers.astype(np.int32)),
                np.int32(len(plan.layers)),
                np.int32(tables.split),
                memory.constant(tables.constants),
                self._arenas,
                np.int64(self._arena),
                np.int32(tables.image_bytes),
                np.int32(0),
                memory.buffer(rooms),
                np.int64(tables.room_bytes),
                np.int32(plan.height * plan.width * 3),
                np.int32(plan.classes),
                *self._progress,
                np.int32(0),
                None,
            )

    def begin(self, n: int) -> Begun[Float32]:
        """See Execution."""
        return Begun(lambda: self._run(n))

    def _run(self, n: int) -> Float32:
        self._enqueue(n)
        logits = np.empty((n, self._plan.classes), np.float32)
        cl.enqueue_copy(self._queue, logits, self._logits)
        return logits

    def profile(self, n: int) -> list[float]:
        """See Execution. A thread's time for a layer counts by its share of the threads' time."""
        ticks = np.zeros(len(self._plan.layers) + 1, np.int64)
        cl.enqueue_copy(self._queue, self._ticks, ticks)
        self._kernel.set_arg(_TICKS, self._ticks)
        start = time.perf_counter()
        self._enqueue(n)
        self._queue.finish()
        seconds = time.perf_counter() - start
        self._kernel.set_arg(_TICKS, None)
        cl.enqueue_copy(self._queue, ticks, self._ticks)
        return [float(one) for one in ticks[:-1] * (seconds / ticks[-1])]

    def activation(self, name: str, n: int) -> UInt8:
        """What an activation held after a batch in one group, where all of its images have a place: for tests."""
        shape = self._plan.shapes()[name]
        place = self._tables.places[name]
        arena = np.empty(self._arena, np.uint8)
        cl.enqueue_copy(self._queue, arena, self._arenas)
        start = (
            self._tables.image_bytes + place.before * group_size(n, self._threads) if place.of_group else place.before
        )
        return arena[start : start + n * prod(shape)].reshape(n, *shape)

    def _enqueue(self, n: int) -> None:
        self._progress.reverse()
        self._used.reverse()
        capacity = group_size(n, self._threads)
        self._kernel.set_arg(_COUNT, np.int32(n))
        self._kernel.set_arg(_CAPACITY, np.int32(capacity))
        self._kernel.set_arg(_PROGRESS, self._progress[0])
        self._kernel.set_arg(_NEXT_PROGRESS, self._progress[1])
        self._kernel.set_arg(_USED, np.int32(self._used[1]))
        self._used = [1 + -(-n // capacity), 0]
        cl.enqueue_nd_range_kernel(self._queue, self._kernel, (self._threads,), (1,))
