"""The client of the node daemon: models, regions and requests, kept alive through the end of a daemon or a worker.

One per process (`shared`), made after the fork in Spark's workers. It starts the daemon where none answers
(`launch.py`), holds a lease, and sends again what a daemon or worker did not answer. Each call is
`connection.py`'s; what goes into a region and what is made of the answers is the callers' (`pipeline.py`).
"""

import atexit
import contextlib
import itertools
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential, wait_random

from spark_accel import network_facts
from spark_accel.connection import Again, Connection, Ending, Placed
from spark_accel.errors import DaemonError, ModelError, RegionMemoryError
from spark_accel.network_facts import NetworkFacts
from spark_accel.own_kernels import calls, definition
from spark_accel.own_kernels.definition import Definition
from spark_accel.protocol import accel_pb2
from spark_accel.settings import Settings
from spark_accel.shared_region import RegionFile

_IN_FLIGHT = 8  # requests of this process that wait for answers at once; more wait here
_SPARE = 3  # regions that wait for the next user
_ATTEMPTS = 12

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class TopClasses:
    """The best classes of n images, best first: `index` int32 [n, top], `score` (softmax) float32 [n, top]."""

    index: npt.NDArray[np.int32]
    score: npt.NDArray[np.float32]


@dataclass
class Counters:
    """What this client has done: requests answered, images in them, seconds between sending and answer, summed."""

    requests: int = 0
    images: int = 0
    seconds_waited: float = 0.0


class Region:
    """Shared memory that the daemon reads: `array` is uint8 [size], writable until `close`. Made by `Client.region`."""

    def __init__(self, file: RegionFile, closed: Callable[["Region"], None]) -> None:
        self._file = file
        self._closed = closed

    @property
    def array(self) -> npt.NDArray[np.uint8]:
        """The memory; empty once closed."""
        return self._file.array

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self._file.size

    @property
    def name(self) -> str:
        """The name of its file, under which it is registered."""
        return self._file.path.name

    def close(self) -> None:
        """Gives the memory back; `array` must not be used any more."""
        self._file.delete()
        self._closed(self)


class Client:
    """A connection to the node daemon that outlives it. Safe for use by several threads.

    Raises DaemonError if no daemon can be started or reached, from the calls that need it as well.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._closed = False
        self._connection: Connection | None = None
        self._regions: dict[str, Region] = {}
        self._spare: list[Region] = []
        self._unregister: set[str] = set()  # what a request still used when it was closed
        self._numbers = itertools.count(1)
        self._threads = ThreadPoolExecutor(_IN_FLIGHT, "spark-accel-client")
        self.counters = Counters()
        self._again(lambda _: None)

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._closed

    @property
    def repository(self) -> Path:
        """The daemon's model repository, which need not be that of these settings."""
        return self._again(lambda connection: Path(connection.grant.repository))

    def network(self, name: str) -> NetworkFacts:
        """Loads the network if it is not loaded. Raises ModelError if the repository does not have it."""
        return self._again(lambda connection: network_facts.of_model(connection, name))

    def region(self, size: int) -> Region:
        """A new region of `size` bytes. Raises RegionMemoryError if they can't be had."""
        with self._open():
            self._close_spare()
            held = sum(region.size for region in self._regions.values())
            if held + size > self._settings.memory_limit:
                raise RegionMemoryError(
                    f"a region of {size:,} bytes is wanted, and {held:,} of the {self._settings.memory_limit:,} that"
                    " one process may hold are in use; set spark.accel.memory.limit"
                )
            self._unregister_unused()
            grant = self._again(lambda connection: connection.grant)
            path = Path(grant.memory_dir) / f"{grant.lease}-{next(self._numbers)}"
            region = Region(RegionFile(path, size), self._forget)
            try:
                self._again(lambda connection: connection.register(region.name, size))
            except BaseException:
                region.close()
                raise
            self._regions[region.name] = region
            return region

    def borrow(self, size: int) -> Region:
        """A region as `region` makes it, or one that was given back: making one takes as long as a few photographs."""
        with self._open():
            for region in self._spare:
                if region.size == size:
                    self._spare.remove(region)
                    return region
            return self.region(size)

    def give_back(self, region: Region) -> None:
        """Keeps a region that no request uses for whoever borrows next; it is closed when another one is made."""
        with self._lock:
            if not self._closed and len(self._spare) < _SPARE:
                self._spare.append(region)
                return
        region.close()

    def classify(
        self, network: NetworkFacts, region: Region, count: int, top: int, offset: int = 0, *, device: str = ""
    ) -> Future[TopClasses]:
        """The `top` best classes of `count` images that lie as uint8 [count, height, width, 3] at `offset`.

        `device` is the id of the one that must do it; empty: any.
        """
        parameters: dict[str, int | str] = {"top": top} | ({"device": device} if device else {})

        def run() -> TopClasses:
            index, score = self._infer(network.name, [images], ("index", "score"), parameters, images=count)
            return TopClasses(index, score)

        images = _images(network, region, count, offset)

        return self._submit(run)

    def logits(
        self, network: NetworkFacts, region: Region, count: int, offset: int = 0
    ) -> Future[npt.NDArray[np.float32]]:
        """The logits, float32 [count, classes], of `count` images that lie as in `classify`."""
        images = _images(network, region, count, offset)
        return self._submit(lambda: self._infer(network.name, [images], ("logits",), {}, images=count)[0])

    def kernel(self, name: str, /, **values: npt.ArrayLike) -> dict[str, npt.NDArray[Any]]:
        """Runs a kernel of the repository (docs/own-kernels.md): its outputs by name.

            client.kernel("black_scholes", spot=[100], strike=[90], years=[1], volatility=[0.2], rate=0.03)

        Raises ModelError if the repository does not have it, TypeError for a value that it can't take, AccelError if
        it refuses the request or fails: its sizes don't fit, it wrote out of bounds, it did not end in time.
        """
        return self.run_kernel(self.kernel_definition(name), values)

    def kernel_definition(self, name: str) -> Definition:
        """Loads a kernel if it is not loaded: what its configuration says. Raises ModelError."""
        return self._again(lambda connection: _definition(connection, name))

    def run_kernel(
        self, kernel: Definition, values: Mapping[str, npt.ArrayLike], *, device: str = ""
    ) -> dict[str, npt.NDArray[Any]]:
        """As `kernel`, without asking for its definition again. `device` is that of `classify`."""
        tensors, scalars = calls.arguments(kernel, values)
        spots = calls.spots(kernel, tensors, scalars)
        region = self.borrow(calls.region_bytes(spots.values()))
        placed = {
            name: Placed(name, spot.tensor.datatype, spot.shape, region.name, spot.offset, spot.nbytes)
            for name, spot in spots.items()
        }
        inputs = [placed[one.name] for one in kernel.inputs]
        results = [placed[one.name] for one in kernel.outputs if one.name in placed]
        inline = tuple(one.name for one in kernel.outputs if one.name not in placed)
        parameters = {**scalars, "device": device} if device else scalars
        try:
            for name, tensor in tensors.items():
                spots[name].array(region.array)[...] = tensor
            answers = self._infer(kernel.model, inputs, inline, parameters, results=results)
            found = dict(zip(inline, answers, strict=True))
            found |= {one.name: spots[one.name].array(region.array).copy() for one in results}  # may want memory
        except BaseException:
            region.close()  # the daemon may still use it
            raise
        self.give_back(region)
        return {one.name: found[one.name] for one in kernel.outputs}

    def devices(self) -> accel_pb2.DevicesResponse:
        """What the daemon drives, or why it drives nothing."""
        return self._again(lambda connection: connection.devices())

    def device(self) -> str:
        """The daemon's devices for people: `cpu-0 (Portable Computing Language: AMD EPYC …)`, or why there are none."""
        found = self.devices()
        devices = ", ".join(f"{one.id} ({one.platform}: {one.name})" for one in found.devices)
        return devices or f"no device: {found.failure}"

    def close(self) -> None:
        """Ends the lease and gives all regions back; does nothing in a fork of the process that made it."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for region in list(self._regions.values()):
            region.close()
        with self._lock:
            self._spare.clear()
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _infer(
        self,
        model: str,
        inputs: Sequence[Placed],
        outputs: tuple[str, ...],
        parameters: Mapping[str, int | float | str],
        *,
        images: int = 0,
        results: Sequence[Placed] = (),
    ) -> tuple[npt.NDArray[Any], ...]:
        def call(connection: Connection) -> tuple[npt.NDArray[Any], ...]:
            connection.load(model)
            return connection.infer(model, inputs, outputs, parameters, results)

        began = time.monotonic()
        answer = self._again(call)
        with self._lock:
            self.counters.requests += 1
            self.counters.images += images
            self.counters.seconds_waited += time.monotonic() - began
        return answer

    def _submit(self, call: Callable[[], T]) -> Future[T]:
        try:
            return self._threads.submit(call)
        except RuntimeError:  # of threads that have ended
            self._check_open()
            raise

    def _again(self, call: Callable[[Connection], T]) -> T:
        """The answer to `call`, which is repeated, with a new connection where needed, while daemon or worker go."""

        def attempt() -> T:
            connection = self._connected()
            try:
                return call(connection)
            except Ending:
                connection.retired = True
                raise

        with contextlib.suppress(Again):
            return attempt()  # without what `Retrying` takes, which is a tenth of a small request's time
        attempts = Retrying(
            retry=retry_if_exception_type(Again),
            stop=stop_after_attempt(_ATTEMPTS - 1),
            wait=wait_exponential(multiplier=0.05, max=2.0) + wait_random(0, 0.05),  # not with all that were refused
        )
        try:
            return attempts(attempt)
        except RetryError as error:
            last = error.last_attempt.exception()
            raise DaemonError(
                f"the daemon at {self._settings.daemon_socket} gave no answer in {_ATTEMPTS} attempts: {last}"
            ) from last

    def _connected(self) -> Connection:
        """The connection, or a new one if the daemon of the last has gone, with all regions registered there, too."""
        connection = self._connection
        if connection is not None and connection.alive:
            return connection
        with self._open():
            if self._connection is not None and self._connection.alive:
                return self._connection
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            connection = Connection(self._settings, self._lost)
            try:
                for region in self._regions.values():
                    connection.register(region.name, region.size)
            except BaseException:
                connection.close()
                raise
            self._unregister.clear()
            self._connection = connection
            return connection

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        """Holds the lock; raises DaemonError if the client is closed, or another process': its lock may never open."""
        self._check_open()
        with self._lock:
            self._check_open()
            yield

    def _check_open(self) -> None:
        if self._closed:
            raise DaemonError("this client of the daemon is closed; make a new one")
        if os.getpid() != self._pid:
            raise DaemonError(f"this client of the daemon is process {self._pid}'s; make a new one in this process")

    def _lost(self) -> None:
        with contextlib.suppress(RuntimeError):  # closed, and the regions with it
            self._threads.submit(self._close_spare)

    def _close_spare(self) -> None:
        # without a daemon nobody deletes the files of a process that is killed
        with self._lock:
            while self._spare:
                self._spare.pop().close()

    def _forget(self, region: Region) -> None:
        if os.getpid() != self._pid:
            return
        with self._lock:
            if self._regions.pop(region.name, None) is not None:
                self._unregister.add(region.name)
                self._unregister_unused()

    def _unregister_unused(self) -> None:
        if self._connection is not None:
            names, self._unregister = self._unregister, set()  # a finalizer may add to it meanwhile
            self._unregister |= {name for name in names if not self._connection.unregister(name)}


def _images(network: NetworkFacts, region: Region, count: int, offset: int) -> Placed:
    shape = (count, network.height, network.width, 3)
    return Placed("image", "UINT8", shape, region.name, offset, math.prod(shape))


def _definition(connection: Connection, name: str) -> Definition:
    connection.load(name)
    config = connection.config(name)
    if config.backend != definition.BACKEND:
        raise ModelError(f"model '{name}' is no kernel of a user's: its backend is '{config.backend}'")
    return definition.of_config(config)


_clients: dict[tuple[int, Path], Client] = {}
_clients_lock = threading.RLock()


def _renew_lock() -> None:
    global _clients_lock  # noqa: PLW0603 - of the parent, where a thread may hold it that the child does not have
    _clients_lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)


def shared(settings: Settings) -> Client:
    """The client of this process and socket, made on first use and after it was closed; a forked child gets its own."""
    key = (os.getpid(), settings.daemon_socket)
    with _clients_lock:
        if key not in _clients or _clients[key].closed:
            _clients[key] = Client(settings)
            atexit.register(_clients[key].close)
        return _clients[key]
