"""One life of a worker process as the daemon sees it: its start, what it is asked, its end or its hanging.

Two sockets lead to it: `data` carries batches and region files and is served by the worker's main thread, `control`
carries all else and is served by another, so that a model loads while batches run. `device_worker.py` starts it again.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from spark_accel.daemon import loaders
from spark_accel.daemon.devices import DeviceFacts
from spark_accel.daemon.link import AsyncLink, Buffer, Header
from spark_accel.daemon.worker_environment import environment

_EXIT_SECONDS = 5.0
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}

_MOST_BATCHES = 2  # that a process has: one runs, another may be on its way


class Done(Protocol):
    """Told a batch's answer, or None if the worker ended before; `began`: whether it was the batch's turn by then."""

    def __call__(self, answer: Header | None, data: memoryview, *, began: bool = True) -> None:
        """Called once."""


class WorkerEnded(Exception):  # noqa: N818 - an event, told to whoever waits
    """The worker ended before it answered; the text says how."""


@dataclass(frozen=True)
class _Batch:
    """A batch that has been sent."""

    done: Done
    limit: float  # seconds that it may take
    own_limit: bool  # whether that is one of its model's own


@dataclass(frozen=True)
class Limits:
    """Seconds after which a worker counts as hung."""

    start: float = 120.0
    load: float = 900.0  # kernels are compiled
    execute: float = 900.0  # the numpy reference takes minutes for a large batch
    ping: float = 20.0  # for a sign of life, which a worker is asked for when a batch runs as long


class WorkerProcess:
    """A running worker. It is started by `start` and ends, at the latest, with `close`."""

    def __init__(self, process: Process, data: socket.socket, control: socket.socket, limits: Limits) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._process = process
        self._limits = limits
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Header]] = {0: loop.create_future()}  # 0: its first words
        self._hello = self._answers[0]
        self._regions: set[int] = set()  # those whose file it has
        self._batches: deque[_Batch] = deque()  # the first one runs
        self.since = 0.0  # it does, by the monotonic clock
        self._watcher: asyncio.TimerHandle | None = None
        self._ping: asyncio.Task[Header] | None = None
        self._gone = asyncio.Event()
        self.ending = ""  # how it ended, once it has: `ended (signal 9, SIGKILL)`
        self.overran = False  # ended because a batch took longer than its own limit
        self.crashed = False  # by what it did itself, while it ran such a batch
        self.damaged = False  # ended because a kernel had written out of bounds
        self._data = AsyncLink(data, self._answered_batch, self._gone.set)
        self._control = AsyncLink(control, self._answered, self._gone.set)

    @classmethod
    async def start(cls, device: DeviceFacts, tier: str, limits: Limits) -> "WorkerProcess":
        """Starts the process for a device; `tier` is the setting `kernels`."""
        with contextlib.ExitStack() as failed:
            data, data_end = map(failed.enter_context, socket.socketpair())
            control, control_end = map(failed.enter_context, socket.socketpair())
            descriptors = (data_end.fileno(), control_end.fileno())
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "spark_accel.daemon.worker",
                *map(str, descriptors),
                device.id,
                tier,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=descriptors,
                env={**environment(os.environ), **loaders.environment(device.loader)},
            )
            failed.pop_all()
        data_end.close()
        control_end.close()
        return cls(process, data, control, limits)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def idle(self) -> bool:
        """Whether it waits for a batch."""
        return not self._batches and not self._gone.is_set()

    @property
    def takes_ahead(self) -> bool:
        """Whether it runs a batch and can take another one meanwhile."""
        return 0 < len(self._batches) < _MOST_BATCHES and not self._gone.is_set()

    @property
    def ended_by_a_kernel(self) -> bool:
        """Whether a user's kernel ended it, for which no other client of the device has to wait."""
        return self.overran or self.crashed or self.damaged

    async def hello(self) -> None:
        """Returns when it has its device; raises WorkerEnded."""
        await self._within(self._hello, self._limits.start, "start")

    async def ask(self, message: Header) -> Header:
        """Sends `message` and returns the answer; raises WorkerEnded."""
        limit = self._limits.ping if message["op"] == "ping" else self._limits.load
        number = next(self._numbers)
        answer = self._answers[number] = self._loop.create_future()
        if self._gone.is_set():
            raise WorkerEnded(self.ending or "ended")
        self._control.send({"number": number, **message})
        return await self._within(answer, limit, f"answer to '{message['op']}'")

    def execute(
        self,
        batch: Header,
        payload: Sequence[Buffer],
        files: Mapping[int, int],
        done: Done,
        limit: float | None = None,
    ) -> None:
        """Sends a batch; `files` are the descriptors of its regions by number. `done` is called exactly once.

        `limit` is the seconds that it may take, where that is less than what any batch may.
        """
        for region, descriptor in files.items():
            if region not in self._regions:
                self._regions.add(region)
                self._data.send({"op": "region", "region": region}, descriptor=descriptor)
        self._data.send(batch, payload)
        longest = self._limits.execute
        self._batches.append(_Batch(done, longest if limit is None else min(limit, longest), limit is not None))
        if len(self._batches) == 1:
            self._first_runs()

    def close_region(self, region: int) -> None:
        """Has the worker close the file of a region that is gone."""
        if region in self._regions:
            self._regions.discard(region)
            self._data.send({"op": "close", "region": region})

    def close(self) -> None:
        """Closes its sockets, at which it ends; what it runs is lost."""
        self._gone.set()

    async def gone(self) -> None:
        """Waits until it takes no batches any more, nor answers."""
        await self._gone.wait()

    async def ended(self) -> None:
        """Waits for its end. Then whoever waited for an answer has been told."""
        await self._gone.wait()
        self._data.close()
        self._control.close()
        if self._watcher is not None:
            self._watcher.cancel()
        try:
            code = await asyncio.wait_for(self._process.wait(), _EXIT_SECONDS)
        except asyncio.TimeoutError:
            self._process.kill()
            code = await self._process.wait()
        if not self.ending:
            self.crashed = bool(self._batches) and self._batches[0].own_limit and -code in _CRASHES
            self.ending = f"ended (signal {-code}, {signal.Signals(-code).name})" if code < 0 else f"ended ({code})"
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(WorkerEnded(self.ending))
                answer.exception()  # nobody need have waited for it
        began = True
        while self._batches:
            self._batches.popleft().done(None, memoryview(b""), began=began)
            began = False

    async def _within(self, answer: asyncio.Future[Header], limit: float, what: str) -> Header:
        try:
            return await asyncio.wait_for(asyncio.shield(answer), limit)
        except asyncio.TimeoutError:
            self._kill(f"did not {what} within {limit:g} s")
            raise WorkerEnded(self.ending) from None

    def _answered(self, header: Header, _: memoryview) -> None:
        answer = self._answers.pop(header["number"])
        if not answer.done():
            answer.set_result(header)

    def _answered_batch(self, header: Header, payload: memoryview) -> None:
        batch = self._batches.popleft()
        if header.get("damaged"):  # before anybody can send it another batch
            self.damaged = True
            self._kill("was damaged by a kernel that wrote out of bounds")
        elif self._batches:
            self._first_runs()
        batch.done(header, payload)

    def _first_runs(self) -> None:
        """Looks after the batch that runs from now on."""
        self.since = time.monotonic()
        # A timer for each batch would cost as much as sending it: one looks after all that run meanwhile.
        wait = min(self._limits.ping, self._batches[0].limit)
        if self._watcher is not None and self._watcher.when() > self._loop.time() + wait:
            self._watcher.cancel()
            self._watcher = None
        if self._watcher is None:
            self._watcher = self._loop.call_later(wait, self._watch)

    def _watch(self) -> None:
        """Goes on as long as batches run: notices one that takes too long, and a worker without a sign of life."""
        self._watcher = None
        if not self._batches:
            return
        first = self._batches[0]
        running = time.monotonic() - self.since
        if running >= first.limit:
            self.overran = first.own_limit
            self._kill(f"did not finish a batch within {first.limit:g} s")
            return
        # While it loads a model, its other thread can't answer; the load has a limit of its own.
        if running >= self._limits.ping and not self._answers:
            self._ping = self._loop.create_task(self.ask({"op": "ping"}))
            self._ping.add_done_callback(lambda ping: ping.cancelled() or ping.exception())
        self._watcher = self._loop.call_later(min(self._limits.ping, first.limit - running), self._watch)

    def _kill(self, why: str) -> None:
        self.ending = why
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._gone.set()
