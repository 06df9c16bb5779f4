"""Runs requests: queues them by model, forms batches across clients, hands them to free workers, returns the answers.

Which requests share a batch is `queueing.py`'s; devices are `supervisor.py`'s. A worker runs one batch at a time, so
that what waits can still be merged, overtaken or cancelled; models take turns on it. A device with memory of its own is
sent one batch more, which is copied there meanwhile, if nothing could still be merged with it.
"""

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from functools import partial

from google.protobuf.json_format import MessageToDict
from grpc import StatusCode

from spark_accel.daemon import batch_messages, builtin_models
from spark_accel.daemon.device_worker import Worker
from spark_accel.daemon.link import Header
from spark_accel.daemon.model_config import LoadedModel
from spark_accel.daemon.queueing import ModelQueue
from spark_accel.daemon.regions import Regions
from spark_accel.daemon.reprogramming import Waiting
from spark_accel.daemon.request import InferenceRequest, InferenceResult, RegionSlice, RequestError
from spark_accel.daemon.statistics import Execution, Statistics
from spark_accel.daemon.supervisor import Supervisor

_log = logging.getLogger(__name__)
_NS = 1e-9
_NOT_LOADED = "\0"  # no program's name

Done = Callable[[InferenceResult | RequestError], None]
Cancel = Callable[[], None]


@dataclass(eq=False, slots=True)
class _Pending:
    """A request between `submit` and its outcome, of which `done` is told."""

    request: InferenceRequest
    done: Done
    arrived: int
    shape: Hashable
    regions: tuple[int, ...]


@dataclass(eq=False)
class _Serving:
    """A loaded model. Each load makes another, so that the one before can finish its requests."""

    key: int
    model: LoadedModel
    queue: ModelQueue[_Pending]
    running: int = 0  # requests in batches that run
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    retired: bool = False  # gets no new requests


class Scheduler:
    """See the file's head. `attach` comes before the first request."""

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self._keys = itertools.count(1)
        self._servings: dict[tuple[str, int], _Serving] = {}  # what new requests find
        self._waiting: dict[int, _Serving] = {}  # those with queued requests; the first is the next to run
        self._uses: Counter[int] = Counter()  # of regions, by queued and running requests
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._background: set[asyncio.Task[None]] = set()

    def attach(self, supervisor: Supervisor, regions: Regions) -> None:
        """Connects the devices, and the table of regions, which asks `in_use`."""
        self._supervisor = supervisor
        self._regions = regions

    def submit(self, request: InferenceRequest, done: Done) -> Cancel:
        """Queues a request, of whose outcome `done` is told once, perhaps at once; raises RequestError.

        What it returns takes back a request that has not begun to run, of which `done` is told nothing then.
        """
        serving = self._servings.get((request.model, request.version))
        if serving is None:
            text = f"Request for unknown model: '{request.model}' version {request.version} is not at ready state"
            raise RequestError(StatusCode.UNAVAILABLE, text)
        self._check_servable(serving, request.device)
        regions = _regions_of(request)
        pending = _Pending(request, done, time.monotonic_ns(), batch_messages.shape(request), regions)
        serving.queue.push(pending)
        self._uses.update(regions)
        self._waiting[serving.key] = serving
        self._dispatch()
        return lambda: self._cancel(serving, pending)

    async def infer(self, request: InferenceRequest) -> InferenceResult:
        """Runs a request; raises RequestError. Cancelled, it drops a request that has not begun to run."""
        future: asyncio.Future[InferenceResult | RequestError] = asyncio.get_running_loop().create_future()
        cancel = self.submit(request, lambda outcome: None if future.done() else future.set_result(outcome))
        try:
            outcome = await future
        except asyncio.CancelledError:
            cancel()
            raise
        if isinstance(outcome, RequestError):
            raise outcome
        return outcome

    async def load(self, model: LoadedModel) -> None:
        """Loads a model, in the place of the same version if that is loaded; raises ModelLoadError."""
        together = builtin_models.TOGETHER if model.config.backend == builtin_models.BACKEND else 1
        serving = _Serving(next(self._keys), model, ModelQueue(model.config, together))
        config = MessageToDict(model.config, preserving_proto_field_name=True)
        description = {"name": model.name, "folder": str(model.folder), "config": config}
        await self._supervisor.load(serving.key, description, model.instances)
        before = self._servings.get((model.name, model.version))
        self._servings[model.name, model.version] = serving
        if before is not None:
            task = asyncio.create_task(self._retire(before))
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    async def unload(self, name: str, version: int) -> None:
        """Takes a model from new requests; returns when the accepted ones have ended and it is unloaded."""
        serving = self._servings.pop((name, version), None)
        if serving is not None:
            await self._retire(serving)

    def able(self, name: str, version: int) -> bool:
        """Whether a loaded version is there, or will be after a restart: not if no process could load it again."""
        serving = self._servings.get((name, version))
        return serving is not None and any(worker.has(serving.key) for worker in self._supervisor.workers)

    def in_use(self, region: int) -> bool:
        """Whether a queued or running request uses a region."""
        return region in self._uses

    def region_closed(self, region: int) -> None:
        """Has the workers close their descriptors of a region that is gone."""
        self._supervisor.close_region(region)

    def drop_lease(self, lease: str) -> None:
        """Drops the queued requests of a lease that has ended."""
        ended = RequestError(StatusCode.CANCELLED, f"lease '{lease}' has ended")
        for serving in list(self._waiting.values()):
            for pending in self._drop(serving, lambda item: item.request.lease == lease):
                pending.done(ended)

    def workers_changed(self) -> None:
        """Called when a device has come or gone: its models can run now, or what waits for them never will."""
        for serving in list(self._waiting.values()):
            for device in {pending.request.device for pending in serving.queue}:
                try:
                    self._check_servable(serving, device)
                except RequestError as error:
                    for pending in self._drop(serving, partial(_is_for, device)):
                        pending.done(error)
        self._dispatch()

    async def close(self) -> None:
        """Ends what still unloads."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _retire(self, serving: _Serving) -> None:
        serving.retired = True
        if serving.running or len(serving.queue):
            await serving.drained.wait()
        await self._supervisor.unload(serving.key)

    def _check_servable(self, serving: _Serving, device: str) -> None:
        """Raises RequestError unless the model can run, or may soon, on this device; on any for an empty id."""
        workers = self._supervisor.workers
        if device:
            workers = [worker for worker in workers if worker.device.id == device]
            if not workers:
                there = ", ".join(worker.device.id for worker in self._supervisor.workers)
                raise RequestError(
                    StatusCode.INVALID_ARGUMENT,
                    f"device '{device}' is not one that this daemon drives: {there}; see setting spark.accel.device",
                )
        if not any(worker.may_run(serving.key) for worker in workers):
            reasons = [worker.failure for worker in workers if worker.failure]
            name = serving.model.name
            if device and not reasons:
                text = f"model '{name}' has no instance on device '{device}'; see instance_group in its configuration"
                raise RequestError(StatusCode.INVALID_ARGUMENT, text)
            text = "; ".join(reasons) or f"model '{name}' could not be loaded again after a restart"
            raise RequestError(StatusCode.UNAVAILABLE, text)

    def _cancel(self, serving: _Serving, pending: _Pending) -> None:
        self._drop(serving, lambda item: item is pending)

    def _drop(self, serving: _Serving, condition: Callable[[_Pending], bool]) -> list[_Pending]:
        dropped = serving.queue.remove(condition)
        for pending in dropped:
            self._count_unrun(serving, pending)
        self._ended(serving, dropped)
        return dropped

    def _dispatch(self) -> None:
        """Gives every free worker a batch, models in turn, and sees to it that it runs again when time matters."""
        self._expire()
        if not self._waiting:
            self._wake(None)
            return
        for worker in self._supervisor.workers:
            if worker.free:
                self._give(worker)
        ahead = [worker for worker in self._supervisor.workers if worker.takes_ahead]
        for worker in sorted(ahead, key=lambda one: one.since):  # who began first is likely to end first
            self._give(worker, ahead=True)
        self._wake(self._next_event())

    def _give(self, worker: Worker, ahead: bool = False) -> None:
        now = time.monotonic_ns()
        program = worker.board.choose(self._waiting_for(worker, now), now) if worker.is_board else None
        if ahead and program not in (None, worker.board.program):
            return  # when what runs has ended
        for serving in self._waiting.values():
            may_run = worker.loaded.get(serving.key, _NOT_LOADED) in ("", program)  # "": whatever the board holds
            if may_run and (batch := serving.queue.batch(now, worker.device.id, complete=ahead)):
                del self._waiting[serving.key]
                if len(serving.queue):
                    self._waiting[serving.key] = serving  # behind all others
                self._run(worker, serving, batch, now)
                return

    def _waiting_for(self, worker: Worker, now: int) -> dict[str, Waiting]:
        """What waits for each program of a board."""
        found: dict[str, Waiting] = {}
        for serving in self._waiting.values():
            program = worker.loaded.get(serving.key)
            waiting = serving.queue.waiting(now, worker.device.id) if program else None
            if program and waiting is not None:
                found[program] = found[program] + waiting if program in found else waiting
        return found

    def _run(self, worker: Worker, serving: _Serving, batch: list[_Pending], now: int) -> None:
        serving.running += len(batch)
        files = {number: self._regions.descriptor(number) for pending in batch for number in pending.regions}
        header, payload = batch_messages.encode(serving.key, [pending.request for pending in batch])

        def done(answer: Header | None, data: memoryview, *, began: bool = True) -> None:
            serving.running -= len(batch)
            if answer is None and not began:  # another worker, or the next process of this one, may run it
                for pending in batch:
                    serving.queue.put_back(pending)
                self._waiting[serving.key] = serving
                self._dispatch()
                return
            if answer is None:
                outcomes = self._lost(worker, serving, batch)
            else:
                worker.ran(serving.key, answer)
                outcomes = list(batch_messages.decode(answer, data, len(batch)))
            self._ended(serving, batch)
            self._dispatch()  # the worker goes on while these are told
            for pending, outcome in zip(batch, outcomes, strict=True):
                pending.done(outcome)
            if answer is not None:  # while they read what they were told
                self._count(serving, batch, now, answer)

        worker.execute(header, payload, files, done, serving.model.time_limit)

    def _count(self, serving: _Serving, batch: list[_Pending], began: int, answer: Header) -> None:
        began += answer.get("waited_ns", 0)
        execution = Execution(
            batch=sum([pending.request.batch for pending in batch]),
            queue_ns=tuple([began - pending.arrived for pending in batch]),
            compute_input_ns=answer["times"][0],
            compute_infer_ns=answer["times"][1],
            compute_output_ns=answer["times"][2],
            failed="error" in answer,
        )
        self._statistics.executed(serving.model.name, serving.model.version, execution)

    def _lost(self, worker: Worker, serving: _Serving, batch: list[_Pending]) -> list[InferenceResult | RequestError]:
        for pending in batch:
            self._count_unrun(serving, pending)
        return [_loss(worker, serving.model)] * len(batch)

    def _ended(self, serving: _Serving, requests: Iterable[_Pending]) -> None:
        """What follows when requests have been answered or dropped."""
        for pending in requests:
            for number in pending.regions:
                self._uses[number] -= 1
                if not self._uses[number]:
                    del self._uses[number]
        self._regions.sweep()
        if not len(serving.queue):
            self._waiting.pop(serving.key, None)
            if serving.retired and not serving.running:
                serving.drained.set()

    def _count_unrun(self, serving: _Serving, pending: _Pending) -> None:
        self._statistics.failed(serving.model.name, serving.model.version, time.monotonic_ns() - pending.arrived)

    def _expire(self) -> None:
        now = time.monotonic_ns()
        for serving in list(self._waiting.values()):
            late = serving.queue.expire(now)
            for pending in late:
                self._count_unrun(serving, pending)
            if late:
                self._ended(serving, late)
                expired = RequestError(StatusCode.UNAVAILABLE, "Request timeout expired")
                for pending in late:
                    pending.done(expired)

    def _next_event(self) -> int | None:
        free = [worker for worker in self._supervisor.workers if worker.free]
        now = time.monotonic_ns() if any(worker.is_board for worker in free) else 0
        programs = {}  # what each board may run; those whose work it has put off are its own matter
        events = []
        for board in (worker for worker in free if worker.is_board):
            waiting = self._waiting_for(board, now)
            programs[board.device.id] = board.board.choose(waiting, now)
            events.append(board.board.next_choice(waiting, now))
        for serving in self._waiting.values():
            able = [
                worker.device.id
                for worker in free
                if worker.loaded.get(serving.key, _NOT_LOADED) in ("", programs.get(worker.device.id))
            ]
            events.append(serving.queue.next_event(able))
        return min((event for event in events if event is not None), default=None)

    def _wake(self, at: int | None) -> None:
        if self._timer is not None:
            if at == self._timer_at:
                return
            self._timer.cancel()
            self._timer = None
        if at is not None:
            self._timer_at = at
            delay = max(0.0, (at - time.monotonic_ns()) * _NS)
            self._timer = asyncio.get_running_loop().call_later(delay, self._timed)

    def _timed(self) -> None:
        self._timer = None
        self._dispatch()


def _is_for(device: str, pending: _Pending) -> bool:
    return pending.request.device == device


def _loss(worker: Worker, model: LoadedModel) -> RequestError:
    """What clients of a batch are told whose worker ended: to send it again, unless a user's kernel is the cause."""
    device = f"device {worker.device.id}"
    if model.time_limit is not None and worker.overran:
        return RequestError(
            StatusCode.DEADLINE_EXCEEDED,
            f"the kernel of model '{model.name}' did not end within {model.time_limit:g} s on {device}, whose worker is"
            " replaced; does it loop for ever? Its limit is 'time_limit_seconds' in config.pbtxt",
        )
    if model.time_limit is not None and worker.crashed:
        return RequestError(
            StatusCode.INTERNAL,
            f"the worker of {device} {worker.ending} in the kernel of model '{model.name}' and is replaced; does the"
            " kernel read or write outside of its tensors?",
        )
    text = f"{device} {worker.ending} and is started again; send the request again"
    return RequestError(StatusCode.UNAVAILABLE, text)


def _regions_of(request: InferenceRequest) -> tuple[int, ...]:
    places = [tensor.data for tensor in request.inputs] + [output.region for output in request.outputs]
    return tuple({place.region for place in places if isinstance(place, RegionSlice)})
