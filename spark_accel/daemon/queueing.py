"""The queue of one model: priorities, queue policies and the forming of batches, as Triton's ModelConfig defines them.

A pure data structure: time (nanoseconds of a monotonic clock) comes in as an argument, nothing waits here; that is
`scheduler.py`'s. Without `dynamic_batching` each request is a batch of its own, in order, without limits; but of a
built-in model up to `together` requests that wait are handed over at once, so that its device does not wait for them.
Clients, told apart by their leases, share a level fairly; a request may be for one device only.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from grpc import StatusCode
from tritonclient.grpc import model_config_pb2

from spark_accel.daemon.fair_queue import FairQueue
from spark_accel.daemon.reprogramming import Waiting
from spark_accel.daemon.request import InferenceRequest, RequestError

_DELAY = model_config_pb2.ModelQueuePolicy.DELAY
_NS = 1000  # nanoseconds in a microsecond


class Queued(Protocol):
    """What the queue needs to know of its items."""

    request: InferenceRequest
    arrived: int
    shape: Hashable  # requests of equal shapes can share a batch


T = TypeVar("T", bound=Queued)


@dataclass
class _Level(Generic[T]):
    """One priority level: those still in time, and those whose time ran out but whose policy is DELAY."""

    policy: model_config_pb2.ModelQueuePolicy
    waiting: FairQueue[T] = field(default_factory=FairQueue)
    delayed: deque[T] = field(default_factory=deque)

    def timeout(self, request: InferenceRequest) -> int:
        """Nanoseconds that a request may wait, 0: without limit."""
        default = self.policy.default_timeout_microseconds
        if self.policy.allow_timeout_override and 0 < request.timeout_us < default:
            return int(request.timeout_us) * _NS
        return int(default) * _NS


class ModelQueue(Generic[T]):
    """The queued requests of one model."""

    def __init__(self, config: model_config_pb2.ModelConfig, together: int = 1) -> None:
        self._dynamic = config.HasField("dynamic_batching")
        batching = config.dynamic_batching
        self._delay = batching.max_queue_delay_microseconds * _NS
        self._preferred = sorted(size for size in batching.preferred_batch_size if 0 < size <= config.max_batch_size)
        self._most = self._preferred[-1] if self._preferred else max(together, config.max_batch_size)
        self._merges = self._dynamic or together > 1
        self._default_level = batching.default_priority_level
        policies = batching.priority_queue_policy
        self._levels: list[_Level[T]] = [
            _Level(policies.get(level, batching.default_queue_policy))
            for level in range(1, max(1, batching.priority_levels) + 1)
        ]

        self._limited = self._dynamic and any(level.policy.default_timeout_microseconds for level in self._levels)

    def __iter__(self) -> Iterator[T]:
        """All of them."""
        return (item for level in self._levels for items in (level.waiting, level.delayed) for item in items)

    def __len__(self) -> int:
        return sum(len(level.waiting) + len(level.delayed) for level in self._levels)

    def push(self, item: T) -> None:
        """Queues a request; raises RequestError if its level is full."""
        level = self._level(item.request)
        most = level.policy.max_queue_size if self._dynamic else 0
        if most and len(level.waiting) + len(level.delayed) >= most:
            tag = f"[request id: {item.request.id or '<id_unknown>'}]"
            raise RequestError(StatusCode.UNAVAILABLE, f"{tag} Exceeds maximum queue size")
        self._put(level, item)

    def put_back(self, item: T) -> None:
        """Queues a request anew that was taken out and did not run."""
        self._put(self._level(item.request), item)

    def expire(self, now: int) -> list[T]:
        """Takes out and returns those that are to be refused because their time ran out; sets others back."""
        refused: list[T] = []
        if not self._dynamic:
            return refused
        for level in self._levels:
            if not level.policy.default_timeout_microseconds:
                continue
            late = [item for item in level.waiting if item.arrived + level.timeout(item.request) <= now]
            for item in late:
                level.waiting.remove(item)
            (level.delayed if level.policy.timeout_action == _DELAY else refused).extend(late)
        return refused

    def remove(self, condition: Callable[[T], bool]) -> list[T]:
        """Takes out and returns what meets the condition."""
        removed: list[T] = []
        for level in self._levels:
            for items in (level.waiting, level.delayed):
                found = [item for item in items if condition(item)]
                for item in found:
                    items.remove(item)
                removed.extend(found)
        return removed

    def batch(self, now: int, device: str = "", *, complete: bool = False) -> list[T]:
        """Takes out and returns the requests that `device` should run now as one batch; none if waiting may make it
        better. With `complete` only those that can't grow any more, or need not, of those that may wait for ever."""
        if complete and self._limited:
            return []
        if not self._merges:
            first = next(self._items(device), None)
            return [] if first is None else self._taken([first])
        pending, preferred, full = self._pending(device)
        if not pending:
            return []
        if preferred:
            pending = pending[:preferred]
        elif not full and (complete or now < self._oldest(device) + self._delay):
            return []
        return self._taken(pending)

    def next_event(self, free: Iterable[str]) -> int | None:
        """When `expire` or, for one of the devices that are `free`, `batch` has something to do, unless more comes."""
        firsts = (self._oldest(device) for device in free if any(True for _ in self._items(device)))
        events = [first + self._delay for first in firsts]
        if self._dynamic:
            for level in self._levels:
                if level.policy.default_timeout_microseconds:
                    events.extend(item.arrived + level.timeout(item.request) for item in level.waiting)
        return min(events, default=None)

    def waiting(self, now: int, device: str) -> Waiting | None:
        """What waits here for a device; None if nothing does."""
        items = list(self._items(device))
        if not items:
            return None
        timeouts = (
            item.arrived + level.timeout(item.request) - now
            for level in self._levels
            if self._dynamic and level.policy.default_timeout_microseconds
            for item in level.waiting
            if item.request.device in ("", device)
        )
        return Waiting(len(items), sum(now - item.arrived for item in items), min(timeouts, default=None))

    def _put(self, level: _Level[T], item: T) -> None:
        level.waiting.push(item, item.request.lease, max(1, item.request.batch))

    def _taken(self, items: list[T]) -> list[T]:
        for item in items:
            level = self._level(item.request)
            try:
                level.waiting.remove(item)
            except ValueError:
                level.delayed.remove(item)
        return items

    def _level(self, request: InferenceRequest) -> _Level[T]:
        if len(self._levels) == 1:
            return self._levels[0]
        wanted = request.priority if 0 < request.priority <= len(self._levels) else self._default_level
        return self._levels[wanted - 1]

    def _items(self, device: str) -> Iterator[T]:
        """What a device may run, in the order in which it should."""
        for level in self._levels:
            for items in (level.waiting, level.delayed):
                yield from (item for item in items if item.request.device in ("", device))

    def _oldest(self, device: str) -> int:
        return min(item.arrived for item in self._items(device))

    def _pending(self, device: str) -> tuple[list[T], int, bool]:
        """The longest batch from the queue's head; how many requests of it make the largest preferred size (0: none);
        whether it can't grow any more.
        """
        pending: list[T] = []
        rows = preferred = 0
        for item in self._items(device):
            if pending and item.shape != pending[0].shape:
                continue
            if pending and rows + item.request.batch > self._most:
                return pending, preferred, True
            pending.append(item)
            rows += item.request.batch
            if rows in self._preferred:
                preferred = len(pending)
            if rows >= self._most:
                break
        return pending, preferred, not self._dynamic or rows >= self._most
