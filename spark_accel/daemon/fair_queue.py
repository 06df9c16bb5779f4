"""A queue in which no client can starve another: start-time fair queueing.

Each item gets a start tag: where its client's previous item ended, or the tag of what left the queue last, whichever is
later; items leave in the order of their tags (Goyal, Vin, Cheng, Start-time Fair Queueing, SIGCOMM 1996). So a client
that sends much waits for itself, and one client alone is served in the order of its items.
"""

from bisect import insort
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

_MOST_AWAY = 1024  # clients without an item that are remembered
T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items in the order in which they should leave."""

    def __init__(self) -> None:
        self._items: list[tuple[float, int, Hashable, T]] = []
        self._ends: dict[Hashable, float] = {}  # of each client's last item
        self._now = 0.0
        self._number = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return (item for *_, item in self._items)

    def push(self, item: T, client: Hashable, size: float) -> None:
        """Adds an item of a client, of which `size` is how much service it takes, above 0."""
        start = max(self._now, self._ends.get(client, 0.0))
        self._ends[client] = start + size
        self._number += 1
        insort(self._items, (start, self._number, client, item), key=lambda entry: entry[:2])
        if len(self._ends) > 2 * (_MOST_AWAY + len(self._items)):
            self._forget()

    def remove(self, item: T) -> None:
        """Takes an item out, by identity; raises ValueError if it is not there."""
        for index, (start, _, _, other) in enumerate(self._items):
            if other is item:
                del self._items[index]
                self._now = max(self._now, start) if index == 0 else self._now
                if not self._items:
                    self._ends.clear()
                    self._now = 0.0
                return
        raise ValueError("the item is not in the queue")

    def _forget(self) -> None:
        """Forgets clients without an item, save those that have had the most: they may have left for good."""
        waiting = {client for _, _, client, _ in self._items}
        away = sorted(self._ends.keys() - waiting, key=self._ends.__getitem__)
        for client in away[:-_MOST_AWAY]:
            del self._ends[client]
