"""Order between clients: each is served in turn, whatever the others send; a client's own items stay in order."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from spark_accel.daemon.fair_queue import FairQueue


def drained(queue: FairQueue[tuple[str, int]]) -> list[tuple[str, int]]:
    found = []
    while len(queue):
        first = next(iter(queue))
        queue.remove(first)
        found.append(first)
    return found


def test_one_client_is_served_in_order() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number in range(5):
        queue.push(("a", number), "a", 3)

    assert drained(queue) == [("a", number) for number in range(5)]


def test_who_sends_much_does_not_delay_who_sends_little() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number in range(100):
        queue.push(("flood", number), "flood", 1)
    queue.push(("other", 0), "other", 1)

    assert drained(queue).index(("other", 0)) <= 1


def test_shares_are_of_service_and_not_of_items() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number in range(20):
        queue.push(("large", number), "large", 4)
        queue.push(("small", number), "small", 1)

    first = drained(queue)[:10]

    assert [client for client, _ in first].count("small") == 8


def test_a_client_that_was_away_gets_no_service_for_the_time_it_was_away() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number in range(10):
        queue.push(("steady", number), "steady", 1)
    for _ in range(5):
        queue.remove(next(iter(queue)))
    for number in range(10):
        queue.push(("late", number), "late", 1)

    first = [client for client, _ in drained(queue)][:8]

    assert 3 <= first.count("late") <= 5


def test_clients_that_are_gone_take_no_memory_from_a_queue_that_is_never_empty() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    queue.push(("first", 0), "first", 1)

    tracemalloc.start()
    for number in range(20_000):
        queue.push(("gone", number), f"client {number}", 1)
        queue.remove(next(iter(queue)))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert taken < 20_000 * 50


def test_a_client_that_waits_stays_in_order_however_many_others_come_and_go() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number in range(3):
        queue.push(("waits", number), "waits", 1)
    for number in range(5000):
        gone = ("gone", number)
        queue.push(gone, f"client {number}", 10)
        queue.remove(gone)
    queue.push(("waits", 3), "waits", 1)

    assert drained(queue) == [("waits", number) for number in range(4)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5)), max_size=40))
def test_nothing_is_lost_and_a_clients_items_stay_in_order(sent: list[tuple[str, int]]) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number, (client, size) in enumerate(sent):
        queue.push((client, number), client, size)

    found = drained(queue)

    assert sorted(number for _, number in found) == list(range(len(sent)))
    for client in "abc":
        own = [number for other, number in found if other == client]
        assert own == sorted(own)
