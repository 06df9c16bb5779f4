"""A network on a device, as a worker sees it: `opencl_network.py` and `reference_network.py` are the two kinds."""

from abc import ABC, abstractmethod

import numpy as np

from spark_accel.daemon.begun import Begun
from spark_accel.errors import AccelError
from spark_accel.networks.plan import Float32, Plan, UInt8


class DeviceMemoryError(AccelError, MemoryError):
    """A network does not fit in the memory of its device; the message says how much was wanted."""


class Network(ABC):
    """A loaded network: images are staged in memory that the device reads, then run.

        view = network.input_view(n)                # uint8 [n, height, width, 3]: os.preadv(file, [view], offset)
        logits = network.run_staged(n)              # float32 [n, classes]

    Not for several threads at once, save that one may be made while another runs. Dropping it gives all memory back.
    """

    def __init__(self, plan: Plan, max_batch: int) -> None:
        self.plan = plan
        self.max_batch = max_batch

    @property
    @abstractmethod
    def _staging(self) -> UInt8:
        """Where images are staged, uint8 [max_batch, height, width, 3]."""

    @abstractmethod
    def _begin_staged(self, n: int) -> Begun[Float32]:
        """`begin_staged` for a valid `n`."""

    @abstractmethod
    def _profile_staged(self, n: int) -> list[float]:
        """`profile` for a valid `n`: the seconds alone."""

    @property
    def program(self) -> str:
        """What a board must hold to run the network, see `backends.OnBoard`; empty where a device runs anything."""
        return ""

    def activate(self) -> None:  # noqa: B027 - nothing to do on most devices
        """Gives the board that program."""

    def input_view(self, n: int) -> UInt8:
        """Where the next `n` images go, uint8 [n, height, width, 3]; always the same memory, C-contiguous."""
        return self._staging[: self._checked(n)]

    def run_staged(self, n: int) -> Float32:
        """The logits, float32 [n, classes], of the first `n` staged images, which stay as they are.

        Raises DeviceMemoryError where the device notices only now that its memory is full.
        """
        return self.begin_staged(n).result()

    def begin_staged(self, n: int) -> Begun[Float32]:
        """The same for who does something else meanwhile: what has something to wait for has read the images."""
        return self._begin_staged(self._checked(n))

    def profile(self, n: int) -> list[tuple[str, float]]:
        """Runs the first `n` staged images and gives every layer's name with the seconds that it took, in order."""
        seconds = self._profile_staged(self._checked(n))
        return [(layer.name, one) for layer, one in zip(self.plan.layers, seconds, strict=True)]

    def run(self, images: UInt8) -> Float32:
        """The logits, float32 [n, classes], of `images`, uint8 [n, height, width, 3]. Stages them first."""
        expected = (self.plan.height, self.plan.width, 3)
        if images.dtype != np.uint8 or images.shape[1:] != expected:
            raise ValueError(f"images are {images.dtype} {images.shape}, expected uint8 [n, {expected}]")
        self.input_view(len(images))[:] = images
        return self.run_staged(len(images))

    def _checked(self, n: int) -> int:
        if not 1 <= n <= self.max_batch:
            raise ValueError(f"a batch of {n} images, expected 1 to {self.max_batch}")
        return n
