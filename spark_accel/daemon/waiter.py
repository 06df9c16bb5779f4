"""Waits for a device in a thread of its own, so that the worker's main thread can wait for the daemon meanwhile."""

import contextlib
import os
import queue
import select
import threading
from collections.abc import Callable

from spark_accel.daemon.link import Link


class Waiter:
    """What is added has ended in the order in which it was. For one thread, which makes, asks and takes."""

    def __init__(self) -> None:
        self._ended = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
        self._added: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._poll = select.poll()
        self._poll.register(self._ended, select.POLLIN)
        self._thread: threading.Thread | None = None

    def add(self, wait: Callable[[], None]) -> None:
        """Begins to wait for what ends when `wait` returns, or raises."""
        if self._thread is None:  # most workers need none
            self._thread = threading.Thread(target=self._run, name="waiter", daemon=True)
            self._thread.start()
        self._added.put(wait)

    def ended_first(self, link: Link) -> bool:
        """Waits until the first that was added has ended, or a frame has come on `link`; whether it is the former."""
        self._poll.register(link, select.POLLIN)
        ready = [descriptor for descriptor, _ in self._poll.poll()]
        self._poll.unregister(link)
        return self._ended in ready

    def take(self) -> None:
        """Waits for the first that was added, which another takes the place of."""
        os.eventfd_read(self._ended)

    def _run(self) -> None:
        while True:
            wait = self._added.get()
            with contextlib.suppress(Exception):  # whoever asks for the result is told
                wait()
            os.eventfd_write(self._ended, 1)
