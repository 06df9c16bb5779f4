"""When a board that holds one program at a time is given another one.

Reprogramming takes as long as many requests. So a program that has work keeps the board for a slice, SLICE times as
long as reprogramming takes or BATCHES batches, whichever is longer, and until the requests for another program have
waited as long, taken together. A program without work keeps it for a moment, since its client may be about to ask
again. Whose requests have waited longest is next. With two programs that both have work all the time a request waits a
slice and two reprogrammings at most, and a fifth of the time, or less, goes into reprogramming.
A pure data structure: time, nanoseconds of a monotonic clock, comes in as an argument.
"""

from collections.abc import Mapping
from dataclasses import dataclass

SLICE, BATCHES = 4.0, 16
_MOMENT = 0.5  # of a reprogramming's time, or of a batch's
_FIRST_GUESS = 500_000_000  # nanoseconds, until one has been measured
_LATEST = 0.5  # the weight of the newest measurement


@dataclass(frozen=True)
class Waiting:
    """`requests` that wait for a program: how long they have waited, in sum, and how long the first of them may still
    wait before it is refused (None: for ever). Nanoseconds."""

    requests: int
    waited: int
    left: int | None = None

    def __add__(self, other: "Waiting") -> "Waiting":
        lefts = [left for left in (self.left, other.left) if left is not None]
        return Waiting(self.requests + other.requests, self.waited + other.waited, min(lefts, default=None))


class Reprogramming:
    """The state of one board."""

    def __init__(self) -> None:
        self.program = ""  # what the board holds; empty: nothing yet
        self.count = 0
        self.spent = 0  # nanoseconds of all reprogrammings
        self._cost = float(_FIRST_GUESS)
        self._batch = 0.0  # how long one takes
        self._since = 0  # the program is there
        self._last_work = 0

    def choose(self, waiting: Mapping[str, Waiting], now: int) -> str | None:
        """The program whose work should run next, None to wait; `waiting` are those that have work, by name."""
        others = {name: found for name, found in waiting.items() if name != self.program}
        stays = self.program if self.program in waiting else None
        if not others:
            return stays
        urgent = [name for name, found in others.items() if found.left is not None and found.left <= self._cost]
        if urgent and now - self._since >= self._cost:
            return urgent[0]
        longest = max(others, key=lambda name: others[name].waited)
        return longest if not self.program or now >= self._change(others[longest], now, stays is not None) else stays

    def next_choice(self, waiting: Mapping[str, Waiting], now: int) -> int | None:
        """When `choose` may answer something else though nothing has happened; None: never."""
        others = [found for name, found in waiting.items() if name != self.program]
        if not others or not self.program:
            return None
        has_work = self.program in waiting
        changes = [self._change(found, now, has_work) for found in others]
        urgent = [now + found.left - int(self._cost) for found in others if found.left is not None]
        return min([*changes, *(max(self._since + int(self._cost), one) for one in urgent)])

    def lost(self) -> None:
        """Nobody knows what the board holds, since its process has ended or could not give it a program."""
        self.program = ""

    def ran(self, took: int, now: int) -> None:
        """A batch of the board's program has ended, which took so long."""
        self._batch += (_LATEST if self._batch else 1.0) * (took - self._batch)
        self._last_work = now

    def given(self, program: str, took: int, now: int) -> None:
        """The board was given another program, which took so long."""
        if self.program:
            self.count += 1
            self.spent += took
            self._cost += (1.0 if self.count == 1 else _LATEST) * (took - self._cost)
        self.program, self._since, self._last_work = program, now, now

    def _change(self, other: Waiting, now: int, has_work: bool) -> int:
        """When the board is given to another program that has such work, as things are."""
        length = int(max(SLICE * self._cost, BATCHES * self._batch))
        worth = now + max(0, length - other.waited) // max(1, other.requests)
        busy = max(self._since + length, worth)
        moment = int(_MOMENT * max(self._cost, self._batch))
        return busy if has_work else min(busy, self._last_work + moment)
