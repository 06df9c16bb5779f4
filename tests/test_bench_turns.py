"""What a turn of a contender counts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spark_accel.bench import contender
from spark_accel.bench.contender import Contender, Float32, Job, UInt8


class Slow(Contender):
    """Takes ten seconds for its first answer in a turn and one for each that follows, by a clock of its own."""

    now, answers = 0.0, 0

    about = "slow"

    def prepare(self, batch: int) -> None:
        """Nothing."""

    def put(self, images: UInt8) -> None:
        """Nothing."""

    def answer(self) -> Float32:
        self.now += 1.0 if self.answers else 10.0
        self.answers += 1
        return np.zeros((self.batch, 1), np.float32)


def test_the_first_answer_of_a_turn_is_not_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slow = Slow(Job("", "", "torch", "", "", 1, 8, str(tmp_path)))
    slow.batch = 8
    clock: Any = type("Clock", (), {"perf_counter": staticmethod(lambda: slow.now)})
    monkeypatch.setattr(contender, "time", clock)

    turn = slow.run(3.0)

    assert (turn.images, turn.seconds, turn.milliseconds) == (24, 3.0, [1000.0] * 3)
