"""What takes part in the measurement of a network, seen from inside the process that it has for itself."""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_accel.networks.preprocessing import preprocessing

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Job:
    """What all contenders are given alike: the network as an ONNX file (float32; empty where there is none) and as the
    folder of our plan, images as .npy files (uint8 RGB [n, height, width, 3]), threads, a folder to work in."""

    network: str
    plan: str
    preprocessing: str
    calibration: str
    images: str
    threads: int
    largest: int
    folder: str
    settings: dict[str, str] = field(default_factory=dict)

    def calibration_inputs(self) -> Float32:
        """The calibration images as the float32 network takes them, [n, 3, height, width]."""
        return self.inputs(np.load(self.calibration))

    def inputs(self, images: UInt8) -> Float32:
        """Images as the float32 network takes them, [n, 3, height, width]."""
        return np.ascontiguousarray(preprocessing(self.preprocessing).apply(images).transpose(0, 3, 1, 2))

    def batch(self, size: int) -> UInt8:
        """`size` of the images, again and again where they are fewer."""
        images = np.load(self.images, mmap_mode="r")
        return np.take(images, np.arange(size) % len(images), axis=0)

    @property
    def path(self) -> Path:
        """The folder to work in."""
        return Path(self.folder)


@dataclass
class Turn:
    """What was done in a turn: images, seconds, and for calls that wait for each other the milliseconds of each."""

    images: int = 0
    seconds: float = 0.0
    milliseconds: list[float] = field(default_factory=list)


class Contender(ABC):
    """`prepare` for a batch, `put` images of it, and `answer` as often as one likes."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.batch = 0

    @property
    @abstractmethod
    def about(self) -> str:
        """How it was set up, in words."""

    @abstractmethod
    def prepare(self, batch: int) -> None:
        """Compiles what is compiled by the size of a batch."""

    @abstractmethod
    def put(self, images: UInt8) -> None:
        """Takes uint8 RGB [batch, height, width, 3] for the next answers, in the form that suits it best."""

    @abstractmethod
    def answer(self) -> Float32:
        """The logits or scores, [batch, classes]."""

    def set_up(self, batch: int) -> None:
        """Ready to run batches of that size, warmed up."""
        if batch != self.batch:
            self.prepare(batch)
            self.batch = batch
            self.put(self.job.batch(batch))
            self.answer()

    def run(self, seconds: float) -> Turn:
        """Batches one after the other, for at least so long, after one that does not count: others had the caches."""
        self.answer()
        turn = Turn()
        start = before = time.perf_counter()
        while before - start < seconds:
            self.answer()
            after = time.perf_counter()
            turn.milliseconds.append((after - before) * 1e3)
            before = after
        turn.images = self.batch * len(turn.milliseconds)
        turn.seconds = before - start
        return turn

    def classes(self, images: UInt8, batch: int = 8) -> list[int]:
        """The first class of each image."""
        self.set_up(batch)
        found: list[int] = []
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            self.put(np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)]))
            found.extend(self.answer().argmax(axis=1)[: len(part)].tolist())
        self.put(self.job.batch(batch))
        return found

    def profile(self, batch: int, repeat: int) -> dict[str, Any] | None:
        """The time of each layer, where it can be told."""
        del batch, repeat
        return None

    def arithmetic(self, milliseconds: float, seconds: float) -> list[float]:
        """The milliseconds of each call that `seconds` have room for, of calls that only multiply in registers and take
        `milliseconds` where nothing disturbs them: how steady the machine is. Empty where that can't be told."""
        del milliseconds, seconds
        return []
