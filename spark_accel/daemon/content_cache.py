"""The partitions that a worker keeps on its device from one request to the next, for requests with a content_version.

What is kept is what the engine made of the data; it is found again by where the data lies and by its version. It goes
when a region that it was read from is closed, when another version of it comes, or, least recently used first, when
all of it would exceed the budget or be too many: what takes nothing of the device may yet hold a file open. What is
larger than the budget is streamed at each call.

For one thread: the one that runs batches.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic

from spark_accel.daemon.network import DeviceMemoryError
from spark_accel.estimators.rows import Rows
from spark_accel.estimators.sums import Data, Engine


@dataclass(frozen=True)
class Part:
    """Where a column of a partition lies: `size` bytes at `offset` of the file of region number `region`."""

    name: str
    datatype: str
    region: int
    offset: int
    size: int


@dataclass(frozen=True)
class Content:
    """The identity of a partition's data: the places of all columns, and how they are cut into rows."""

    parts: tuple[Part, ...]
    rows: int
    features: int
    version: int


@dataclass(frozen=True, eq=False)
class _Kept(Generic[Data]):
    data: Data
    size: int  # bytes on the device


class ContentCache(Generic[Data]):
    """See the file's head. `budget` is in bytes; `most` partitions are kept."""

    def __init__(self, engine: Engine[Data], budget: int, most: int) -> None:
        self._engine = engine
        self._budget = budget
        self._most = most
        self._kept: dict[Content, _Kept[Data]] = {}  # least recently used first

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """How many bytes of the device what is kept takes."""
        return sum(kept.size for kept in self._kept.values())

    def load(self, rows: Rows, content: Content) -> Data:
        """What the engine makes of `rows`, kept from the last time or made now.

        Raises rows.DataError, DeviceMemoryError, and whatever reading the columns raises.
        """
        kept = self._kept.pop(content, None)
        if kept is None:
            self._drop(known for known in self._kept if _replaces(content, known))
            kept = self._made(rows)
        self._kept[content] = kept  # the most recently used is last
        self._make_room(0, content)
        return kept.data

    def region_closed(self, region: int) -> None:
        """Forgets what was read from a region."""
        self._drop(known for known in self._kept if any(part.region == region for part in known.parts))

    def clear(self) -> None:
        """Forgets everything."""
        self._kept.clear()

    def _made(self, rows: Rows) -> _Kept[Data]:
        wanted = self._engine.wanted_bytes(rows)
        if wanted <= self._budget:
            for room in (wanted, self._budget):  # a second time with the whole budget free
                self._make_room(room)
                with suppress(DeviceMemoryError):
                    data = self._engine.load(rows, resident=True)
                    size = self._engine.resident_bytes(data)
                    if size <= self._budget:
                        return _Kept(data, size)
                    del data
                    break
        streamed = self._engine.load(rows, resident=False)
        return _Kept(streamed, self._engine.resident_bytes(streamed))

    def _make_room(self, wanted: int, keep: Content | None = None) -> None:
        """Forgets the least recently used until `wanted` bytes of the budget are free, but never `keep`; and those that
        are too many."""
        for known in list(self._kept):
            if self.size + wanted <= self._budget and len(self._kept) <= self._most:
                return
            if known != keep:
                del self._kept[known]

    def _drop(self, stale: Iterable[Content]) -> None:
        for known in list(stale):
            del self._kept[known]


def _replaces(new: Content, known: Content) -> bool:
    """Whether `known` was read from places that hold another version now."""
    return known.version != new.version and not set(known.parts).isdisjoint(new.parts)
