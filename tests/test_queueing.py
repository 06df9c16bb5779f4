"""The queue of one model, with time as a number: what runs together, what runs first, what is refused."""

from collections import Counter
from dataclasses import dataclass
from itertools import groupby

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from spark_accel.daemon.queueing import ModelQueue
from spark_accel.daemon.request import InferenceRequest, RequestError

MS = 1_000_000  # nanoseconds


@dataclass(eq=False)
class Item:
    request: InferenceRequest
    arrived: int = 0
    shape: object = 0


def queue_of(config: str, together: int = 1) -> ModelQueue[Item]:
    return ModelQueue(text_format.Parse(config, model_config_pb2.ModelConfig()), together)


def item(batch: int = 1, *, priority: int = 0, timeout_us: int = 0, arrived: int = 0, shape: object = 0) -> Item:
    request = InferenceRequest("m", 1, "", (), (), batch=batch, priority=priority, timeout_us=timeout_us)
    return Item(request, arrived, shape)


def pushed(queue: ModelQueue[Item], *items: Item) -> list[Item]:
    for one in items:
        queue.push(one)
    return list(items)


def batches(queue: ModelQueue[Item], now: int = 0) -> list[list[Item]]:
    """All batches that can run now."""
    return list(iter(lambda: queue.batch(now), []))


@given(
    st.lists(st.tuples(st.integers(1, 8), st.integers(0, 2), st.integers(0, 4)), max_size=40),
    st.lists(st.integers(1, 8), max_size=3),
)
def test_every_request_runs_once_in_a_batch_of_its_shape_in_the_order_of_its_priority(
    requests: list[tuple[int, int, int]], preferred: list[int]
) -> None:
    queue = queue_of(
        "max_batch_size: 8 dynamic_batching { priority_levels: 3 default_priority_level: 2"
        f" preferred_batch_size: {preferred} }}"
    )
    items = pushed(queue, *(item(batch, shape=shape, priority=level) for batch, shape, level in requests))

    ran = batches(queue)

    assert Counter(one for batch in ran for one in batch) == Counter(items)
    for batch in ran:
        assert len({one.shape for one in batch}) == 1
        assert sum(one.request.batch for one in batch) <= 8
    for shape in range(3):
        order = [one for batch in ran for one in batch if one.shape == shape]
        levels = [one.request.priority if one.request.priority in (1, 2, 3) else 2 for one in order]
        assert levels == sorted(levels)
        for _, same_level in groupby(zip(levels, order, strict=True), key=lambda pair: pair[0]):
            positions = [items.index(one) for _, one in same_level]
            assert positions == sorted(positions)


def test_without_dynamic_batching_each_request_is_a_batch() -> None:
    queue = queue_of("max_batch_size: 8")
    first, second = pushed(queue, item(), item())

    assert batches(queue) == [[first], [second]]


def test_a_batch_that_may_grow_waits_for_the_delay_and_no_longer() -> None:
    queue = queue_of("max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 200000 }")
    items = pushed(queue, item(arrived=5 * MS), item(arrived=100 * MS))

    assert queue.next_event(["cpu-0"]) == 205 * MS
    assert queue.batch(204 * MS) == []
    assert queue.batch(205 * MS) == items


def test_a_full_batch_does_not_wait() -> None:
    queue = queue_of("max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 200000 }")
    first, second, third = pushed(queue, item(3), item(3), item(3))

    assert queue.batch(0) == [first, second]
    assert queue.batch(0) == []
    assert queue.batch(200 * MS) == [third]


def test_a_preferred_size_does_not_wait() -> None:
    config = "preferred_batch_size: [4, 6] max_queue_delay_microseconds: 200000"
    queue = queue_of(f"max_batch_size: 8 dynamic_batching {{ {config} }}")
    items = pushed(queue, *(item() for _ in range(5)))

    assert queue.batch(0) == items[:4]
    assert queue.batch(0) == []


def test_no_batch_is_larger_than_the_largest_preferred_size_unless_one_request_is() -> None:
    queue = queue_of("max_batch_size: 8 dynamic_batching { preferred_batch_size: 4 }")
    large, *others = pushed(queue, item(6), item(), item(), item(), item(), item())

    assert batches(queue) == [[large], others[:4], others[4:]]


@pytest.mark.parametrize(
    ("config", "timeout_us", "limit_ms"),
    [
        ("default_timeout_microseconds: 200000", 20_000, 200),
        ("default_timeout_microseconds: 200000 allow_timeout_override: true", 20_000, 20),
        ("default_timeout_microseconds: 200000 allow_timeout_override: true", 5_000_000, 200),
        ("default_timeout_microseconds: 200000 allow_timeout_override: true", 0, 200),
        ("allow_timeout_override: true", 50_000, None),
    ],
    ids=["no override", "shorter", "longer", "none", "no default"],
)
def test_the_shorter_of_default_and_own_timeout_counts(config: str, timeout_us: int, limit_ms: int | None) -> None:
    queue = queue_of(f"max_batch_size: 8 dynamic_batching {{ default_queue_policy {{ {config} }} }}")
    (only,) = pushed(queue, item(timeout_us=timeout_us))

    assert queue.next_event([]) == (None if limit_ms is None else limit_ms * MS)
    if limit_ms is not None:
        assert queue.expire(limit_ms * MS - 1) == []
    assert queue.expire(10_000 * MS) == ([only] if limit_ms else [])


def test_delayed_requests_run_after_those_in_time() -> None:
    policy = "timeout_action: DELAY default_timeout_microseconds: 100000"
    queue = queue_of(f"max_batch_size: 1 dynamic_batching {{ default_queue_policy {{ {policy} }} }}")
    late, later, timely = pushed(queue, item(), item(arrived=1), item(arrived=90 * MS))

    assert queue.expire(150 * MS) == []
    assert batches(queue, 150 * MS) == [[timely], [late], [later]]


def test_a_full_level_refuses_and_others_do_not() -> None:
    queue = queue_of(
        "max_batch_size: 8 dynamic_batching { priority_levels: 2 default_priority_level: 1"
        " priority_queue_policy { key: 1 value { max_queue_size: 2 } } }"
    )
    pushed(queue, item(), item(), item(priority=2), item(priority=2), item(priority=2))

    with pytest.raises(RequestError, match="Exceeds maximum queue size"):
        queue.push(item())


def test_what_is_removed_does_not_run() -> None:
    queue = queue_of("max_batch_size: 8 dynamic_batching {}")
    first, second, third = pushed(queue, item(), item(), item())

    assert queue.remove(lambda one: one is second) == [second]
    assert queue.batch(0) == [first, third]
    assert len(queue) == 0


def test_requests_of_a_built_in_model_are_handed_over_at_once_up_to_a_number_and_never_wait_for_more() -> None:
    queue = queue_of("", together=3)
    a, b, other, c, d = pushed(queue, item(), item(), item(shape=1), item(), item())

    assert batches(queue) == [[a, b, c], [other], [d]]


def test_only_what_can_not_grow_any_more_is_sent_ahead() -> None:
    queue = queue_of("max_batch_size: 4 dynamic_batching {}")
    full, left = pushed(queue, item(4), item(3))

    assert queue.batch(0, complete=True) == [full]
    assert queue.batch(1000 * MS, complete=True) == []
    assert queue.batch(0) == [left]


def test_what_may_wait_only_so_long_is_not_sent_ahead() -> None:
    queue = queue_of(
        "max_batch_size: 1 dynamic_batching { default_queue_policy { default_timeout_microseconds: 500000 } }"
    )
    items = pushed(queue, item())

    assert queue.batch(0, complete=True) == []
    assert queue.batch(0) == items


def test_what_did_not_run_is_queued_anew_even_if_the_queue_is_full() -> None:
    queue = queue_of("max_batch_size: 1 dynamic_batching { default_queue_policy { max_queue_size: 1 } }")
    (first,) = pushed(queue, item())
    assert queue.batch(0) == [first]
    (second,) = pushed(queue, item())

    queue.put_back(first)

    assert batches(queue) == [[second], [first]]
