"""What a device was given to compute: waited for by any thread, answered by the one that began it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Found = TypeVar("Found")
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Begun(Generic[Found]):
    """`wait` returns when the device has ended, whether or not it failed; any thread may call it, since it changes
    nothing. None: nothing runs by itself, `result` does it.

    `result` gives the answer, or raises why there is none; it waits, too. It is called once, in the order in which they
    began.
    """

    result: Callable[[], Found]
    wait: Callable[[], None] | None = None

    def then(self, make: Callable[[Found], Made]) -> "Begun[Made]":
        """The same, which makes something of its answer."""
        return Begun(lambda: make(self.result()), self.wait)
