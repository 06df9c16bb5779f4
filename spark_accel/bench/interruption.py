"""An interrupt in the middle of a bench: the rounds that had ended before it are its result, marked as such."""

from types import TracebackType
from typing import Any


class UntilInterrupted:
    """Around what measures; an interrupt ends it, and is not passed on."""

    def __init__(self) -> None:
        self.interrupted = False

    def __enter__(self) -> "UntilInterrupted":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> bool:
        ends_here = kind is not None and issubclass(kind, KeyboardInterrupt)
        self.interrupted = self.interrupted or ends_here
        return ends_here

    def mark(self, measured: object) -> dict[str, Any]:
        """What a result says of it; raises KeyboardInterrupt where nothing was `measured` before the interrupt."""
        if self.interrupted and not measured:
            raise KeyboardInterrupt
        return {"interrupted": True} if self.interrupted else {}
