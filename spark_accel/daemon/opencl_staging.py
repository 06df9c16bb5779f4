"""How rows get to a device while its kernels read others: by a queue of their own, through two stages in turn."""

import pyopencl as cl

from spark_accel.daemon.opencl_buffers import Kept


class Stage:
    """Memory for a chunk of rows that don't stay: `memory`."""

    def __init__(self, queue: cl.CommandQueue) -> None:
        self.memory = Kept(queue)
        self.read: cl.Event | None = None  # the kernels that were given the chunk have read it


class Staging:
    """`queue` is in order and runs the kernels, `copies` fills what they read."""

    def __init__(self, queue: cl.CommandQueue) -> None:
        self.queue = queue
        self.copies = cl.CommandQueue(queue.context, queue.device)
        self._stages = [Stage(queue), Stage(queue)]

    def next(self) -> Stage:
        """The stage for another chunk; waits until the chunk that was there is read."""
        self._stages.reverse()
        if self._stages[0].read is not None:
            self._stages[0].read.wait()
        return self._stages[0]

    def copied(self) -> None:
        """Kernels that are enqueued from here on wait for what `copies` was given."""
        there = cl.enqueue_marker(self.copies)
        self.copies.flush()
        cl.enqueue_barrier(self.queue, wait_for=[there])

    def enqueued(self, stage: Stage) -> None:
        """The kernels that read a stage have been enqueued."""
        stage.read = cl.enqueue_marker(self.queue)
        self.queue.flush()
