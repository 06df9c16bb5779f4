"""The client of the node daemon: networks, regions and requests, kept alive through the end of a daemon or a worker.

One per process (`shared`), made after the fork in Spark's workers. It starts the daemon where none answers
(`launch.py`), holds a lease, and sends again what a daemon or worker did not answer. What goes into a region and what is
made of the answers is the callers' (`functions.py`, `keras/`).
"""

from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spark_accel.settings import Settings


@dataclass(frozen=True)
class NetworkFacts:
    """What a caller needs to know of a loaded network. Images are uint8 RGB [height, width, 3]."""

    name: str
    version: int
    height: int
    width: int
    max_batch: int
    classes: int
    resize: int  # the shorter side, in pixels, before the crop to height x width
    ids: tuple[str, ...]  # one a class, as `labels`
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TopClasses:
    """The best classes of n images, best first: `index` int32 [n, top], `score` (softmax) float32 [n, top]."""

    index: npt.NDArray[np.int32]
    score: npt.NDArray[np.float32]


class Region:
    """Shared memory that the daemon reads: `array` is uint8 [size], writable until `close`."""

    array: npt.NDArray[np.uint8]

    @property
    def size(self) -> int:
        """The size in bytes."""
        raise NotImplementedError

    def close(self) -> None:
        """Gives the memory back; `array` must not be used any more."""
        raise NotImplementedError


@dataclass
class Counters:
    """What this client has done: requests answered, images in them, seconds between sending and answer, summed."""

    requests: int = 0
    images: int = 0
    seconds_waited: float = 0.0


class Client:
    """A connection to the node daemon that outlives it. Safe for use by several threads."""

    counters: Counters

    def __init__(self, settings: Settings) -> None:
        raise NotImplementedError

    def network(self, name: str) -> NetworkFacts:
        """Loads the network if it is not loaded. Raises ModelError if the repository does not have it."""
        raise NotImplementedError

    def region(self, size: int) -> Region:
        """A new region of `size` bytes. Raises RegionMemoryError if they can't be had."""
        raise NotImplementedError

    def classify(
        self, network: NetworkFacts, region: Region, count: int, top: int, offset: int = 0
    ) -> Future[TopClasses]:
        """The `top` best classes of `count` images that lie as uint8 [count, height, width, 3] at `offset`."""
        raise NotImplementedError

    def logits(
        self, network: NetworkFacts, region: Region, count: int, offset: int = 0
    ) -> Future[npt.NDArray[np.float32]]:
        """The logits, float32 [count, classes], of `count` images that lie as in `classify`."""
        raise NotImplementedError

    def device(self) -> str:
        """The daemon's devices for people: `cpu-0 (PoCL: AMD EPYC …)`."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends the lease and gives all regions back."""
        raise NotImplementedError


def shared(settings: Settings) -> Client:
    """The client of this process and socket, made on first use; a forked child gets its own."""
    raise NotImplementedError
