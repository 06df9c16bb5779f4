"""A device as the scheduler sees it, through all lives of the process that drives it: it is started again with growing
delays and loads its models again.

One life is `worker_process.py`; which devices have a `Worker` is `supervisor.py`'s.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from spark_accel.daemon import devices, kernel_trial, model_folder
from spark_accel.daemon.devices import DeviceFacts
from spark_accel.daemon.link import Buffer, Header
from spark_accel.daemon.loaded_models import Loaded, LoadedModels
from spark_accel.daemon.model_config import ModelLoadError
from spark_accel.daemon.model_folder import Fingerprint
from spark_accel.daemon.reprogramming import Reprogramming
from spark_accel.daemon.worker_process import Done, Limits, WorkerEnded, WorkerProcess
from spark_accel.protocol import accel_pb2

_log = logging.getLogger(__name__)

_HEALTHY_SECONDS = 10.0  # a process that lived so long has its successor started without delay
_DELAY, _LONGEST_DELAY = 0.1, 10.0
_SHORT = 5_000_000  # nanoseconds: the way to a worker and back takes some hundred thousand
_ENDS = 2  # of processes during a load, after which the model counts as the cause
_HOPELESS = 3  # starts in a row without success, after which requests are refused and no longer kept waiting


class Worker:
    """A device and the process that drives it. `changed` is called when models can run on it, or can't any more."""

    def __init__(self, device: DeviceFacts, tier: str, limits: Limits, changed: Callable[[], None]) -> None:
        self.device = device
        self._tier = tier
        self._limits = limits
        self._changed = changed
        self._process: WorkerProcess | None = None
        self._models = LoadedModels()
        self._tried: set[tuple[str, Fingerprint]] = set()  # users' kernels that compile
        self._up = asyncio.Event()  # the process can load models, or it is known why none can
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._no_start = ""  # why the last process could not even be started
        self._asked = 0  # loads of models that it had not had before, under way
        self._settled = False  # this process has loaded what the one before it had
        self._restarts = 0
        self._executions = 0
        self._latest = 0  # the model whose batch was sent last
        self._took: dict[int, int] = {}  # nanoseconds, the last batch of each model
        self.loaded: dict[int, str] = {}  # the models that can run now, each with the program that a board needs for it
        self.board = Reprogramming()
        self.failure = ""  # why the device can't be had; empty while there is hope

    @property
    def free(self) -> bool:
        """Whether a batch of a model in `loaded` may be sent, which runs at once."""
        return self._process is not None and self._process.idle

    @property
    def takes_ahead(self) -> bool:
        """Whether a batch may be sent while another one runs: where it is copied meanwhile, and where a model's batches
        are so short that the way to the worker counts. A board whose program is about to change takes none."""
        if self._process is None or not self._process.takes_ahead:
            return False
        gains = devices.has_own_memory(self.device.kind) or self._took.get(self._latest, _SHORT) < _SHORT
        return gains and self.loaded.get(self._latest, "") in ("", self.board.program)

    @property
    def since(self) -> float:
        """When the batch that runs began to; of the monotonic clock."""
        return self._process.since if self._process is not None else 0.0

    @property
    def is_board(self) -> bool:
        """Whether the device holds one program at a time."""
        return any(self.loaded.values())

    def ran(self, key: int, answer: Header) -> None:
        """A batch of a model has run; the answer says how long it took, and a board's reprogramming if it had one."""
        took = self._took[key] = sum(answer["times"])
        program = self.loaded.get(key)
        if not program:  # it runs whatever the board holds
            return
        now = time.monotonic_ns()
        if program != self.board.program:
            if "programmed_ns" not in answer:  # it could not be given that, and holds who knows what
                self.board.lost()
                return
            self.board.given(program, answer["programmed_ns"], now)
        self.board.ran(took, now)

    @property
    def overran(self) -> bool:
        """Whether the last process ended because a batch took longer than its own limit."""
        return self._process is not None and self._process.overran

    @property
    def crashed(self) -> bool:
        """Whether the last process crashed in a batch with a limit of its own."""
        return self._process is not None and self._process.crashed

    @property
    def ending(self) -> str:
        """How the last process ended: `ended (signal 9, SIGKILL)`."""
        return self._no_start or (self._process.ending if self._process is not None else "")

    def may_run(self, key: int) -> bool:
        """Whether the model can run here now, or after a restart that is under way."""
        return not self.failure and (key in self.loaded or not self._settled)

    def has(self, key: int) -> bool:
        """Whether the model is loaded here, or may be once a process is up: not if that could not load it again."""
        return key in self.loaded or (not self._settled and key in self._models)

    def facts(self) -> accel_pb2.Device:
        """The device as the Devices call answers it."""
        running = self._process is not None and self._up.is_set() and not self.failure
        pid = self._process.pid if running and self._process is not None else 0
        told = asdict(self.device)
        del told["loader"]  # how it is opened is nobody else's business
        return accel_pb2.Device(
            **told,
            worker_pid=pid,
            restarts=self._restarts,
            program=self.board.program,
            reprogrammings=self.board.count,
            reprogramming_ns=self.board.spent,
            executions=self._executions,
            failure=self.failure,
        )

    def start(self) -> None:
        """Starts the process and keeps one running until `close`."""
        self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Ends the process; what it runs is lost."""
        self._closing.set()
        if self._process is not None:
            self._process.close()
        if self._task is not None:
            await self._task

    async def up(self) -> WorkerProcess:
        """The process, once it has its device; raises WorkerEnded if it can't be had."""
        await self._up.wait()
        if self.failure or self._process is None:
            raise WorkerEnded(self.failure)
        return self._process

    async def load(self, key: int, model: Header) -> None:
        """Loads `model` under the number `key`, on each process to come too; raises ModelLoadError."""
        try:
            files = await asyncio.to_thread(model_folder.fingerprint, Path(model["folder"]))
        except OSError as error:
            raise ModelLoadError(f"Unavailable: its files can't be looked at ({error.strerror})") from None
        await self._try(model, files)
        ends = 0  # of processes during the load, of which the model may be innocent
        while True:
            try:
                process = await self.up()
            except WorkerEnded as error:
                raise ModelLoadError(f"Unavailable: {error}") from None
            self._asked += 1
            try:
                answer = await self._load(process, key, model)
            except WorkerEnded as error:
                ends += not process.ended_by_a_kernel
                if ends == _ENDS:
                    text = f"device {self.device.id}: its worker {error} during the load"
                    raise ModelLoadError(f"Unavailable: {text}") from None
                await asyncio.sleep(0)  # until `_live` has noticed, too
                continue
            finally:
                self._asked -= 1
            self.loaded[key] = answer["program"]
            self._models.add(key, Loaded(model, files, answer["program"], answer["provides"]))
            return

    async def unload(self, key: int) -> None:
        """Unloads what no batch will name any more."""
        self._models.drop(key)
        self._took.pop(key, None)
        if key in self.loaded and self._process is not None:
            del self.loaded[key]
            with contextlib.suppress(WorkerEnded):
                await self._process.ask({"op": "unload", "key": key})

    def execute(
        self,
        batch: Header,
        payload: Sequence[Buffer],
        files: Mapping[int, int],
        done: Done,
        limit: float | None = None,
    ) -> None:
        """Has a worker that is free, or takes one ahead, run a batch; see `WorkerProcess.execute`."""
        assert self._process is not None  # noqa: S101 - it is free
        self._executions += 1
        self._latest = batch["key"]
        self._process.execute(batch, payload, files, done, limit)

    def close_region(self, region: int) -> None:
        """Has the process close the file of a region that is gone."""
        if self._process is not None:
            self._process.close_region(region)

    async def _keep(self) -> None:
        short_lives = 0
        while True:
            started = time.monotonic()
            settled, asked = await self._live()
            if self._closing.is_set():
                return
            self._restarts += 1
            process = self._process
            by_a_kernel = settled and process is not None and process.ended_by_a_kernel
            healthy = asked or by_a_kernel or time.monotonic() - started > _HEALTHY_SECONDS
            short_lives = 1 if healthy else short_lives + 1
            delay = 0.0 if short_lives == 1 else min(_DELAY * 2**short_lives, _LONGEST_DELAY)
            _log.error("device %s: its worker %s and is started again in %.1f s", self.device.id, self.ending, delay)
            if short_lives >= _HOPELESS and not settled:
                self.failure = f"device {self.device.id} can't be used: its worker {self.ending}; see the daemon's log"
                self._up.set()
            self._changed()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._closing.wait(), delay)
            if self._closing.is_set():
                return

    async def _live(self) -> tuple[bool, bool]:
        """One life of a process; whether it had loaded what the one before it had, and whether it ended while it was
        asked to load something new, which may be the cause."""
        self.loaded.clear()  # what was said to be loaded when the one before had ended already
        try:
            self._process = await WorkerProcess.start(self.device, self._tier, self._limits)
        except OSError as error:  # no descriptors, no memory: may pass
            self._no_start = f"could not be started ({error})"
            return False, False
        self._no_start = ""
        if self._closing.is_set():
            self._process.close()
        bringing_up = asyncio.create_task(self._bring_up(self._process))
        await self._process.gone()
        # At once: whoever asks from here on is to wait for the next process.
        self.loaded.clear()
        self.board.lost()
        settled, self._settled = self._settled, False
        asked = self._asked > 0
        if not self.failure:
            self._up.clear()
        await self._process.ended()
        bringing_up.cancel()
        await asyncio.gather(bringing_up, return_exceptions=True)
        return settled, asked

    async def _bring_up(self, process: WorkerProcess) -> None:
        with contextlib.suppress(WorkerEnded):
            await process.hello()
            self.failure = ""
            self._up.set()
            await self._load_again(process)
            self._settled = True
            self._changed()

    async def _load_again(self, process: WorkerProcess) -> None:
        """Has a process load what the one before had; users' kernels run when all is there, since they may end it."""
        own = {}
        unserved = []
        for key, loaded in self._models.in_order():
            try:
                await asyncio.to_thread(loaded.check_files)
                answer = await self._load(process, key, loaded.model)
                loaded.check_program(answer["program"])
            except ModelLoadError as error:
                name = loaded.model["name"]
                _log.error("device %s can't load model '%s' again: %s", self.device.id, name, error)
                continue
            if not loaded.served:
                unserved.append(key)
            elif kernel_trial.wanted(loaded.model, self.device):
                own[key] = answer["program"]
            else:
                self.loaded[key] = answer["program"]
                self._changed()
        for key in unserved:
            await process.ask({"op": "unload", "key": key})
        self.loaded.update(own)

    async def _try(self, model: Header, files: Fingerprint) -> None:
        """Has a user's kernel compiled apart, once; raises ModelLoadError."""
        if kernel_trial.wanted(model, self.device) and (model["folder"], files) not in self._tried:
            await kernel_trial.run(self.device, model)
            self._tried.add((model["folder"], files))

    async def _load(self, process: WorkerProcess, key: int, model: Header) -> Header:
        answer = await process.ask({"op": "load", "key": key, **model})
        if "error" in answer:
            raise ModelLoadError(answer["error"])
        return answer
