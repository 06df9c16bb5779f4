"""When a board changes its program, with time as a number: a simulation of clients that want different programs."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from spark_accel.daemon.reprogramming import SLICE, Reprogramming, Waiting

MS = 1_000_000
_UNTIL = 120_000 * MS


@dataclass
class Client:
    """Asks for a program, again when it was answered, after a pause."""

    program: str
    pause: int
    asked: int = 0
    waits: list[int] = field(default_factory=list)


@dataclass
class Outcome:
    reprogrammings: int
    served: dict[str, int]
    longest_wait: int


class FirstComeFirstServed(Reprogramming):
    """What the rules are compared with."""

    def choose(self, waiting: Mapping[str, Waiting], now: int) -> str | None:
        del now
        return max(waiting, key=lambda name: waiting[name].waited, default=None)


def simulate(clients: list[Client], work: int, cost: int, until: int, board: Reprogramming | None = None) -> Outcome:
    """A board that runs one request at a time, each for `work`, and is reprogrammed in `cost`."""
    board, now, events = board or Reprogramming(), 0, [(0, number) for number in range(len(clients))]
    waiting: dict[str, list[Client]] = {}
    while now < until:
        while events and events[0][0] <= now:
            at, number = heapq.heappop(events)
            clients[number].asked = at
            waiting.setdefault(clients[number].program, []).append(clients[number])
        found = {
            name: Waiting(len(asking), sum(now - one.asked for one in asking))
            for name, asking in waiting.items()
            if asking
        }
        chosen = board.choose(found, now)
        if chosen is None:
            times = [events[0][0]] if events else []
            later = board.next_choice(found, now)
            now = max(now + 1, min([*times, *([later] if later is not None else [])]))
            continue
        if chosen != board.program:
            now += cost
            board.given(chosen, cost, now)
        client = waiting[chosen].pop(0)
        now += work
        board.ran(work, now)
        client.waits.append(now - client.asked)
        heapq.heappush(events, (now + client.pause, clients.index(client)))
    return Outcome(
        board.count,
        {client.program: len(client.waits) for client in clients},
        max(wait for client in clients for wait in client.waits),
    )


@pytest.mark.parametrize("pause", [0, 1, 20])
@pytest.mark.parametrize("cost", [200, 1000])
def test_two_executors_cause_a_tenth_of_the_reprogrammings_of_first_come_first_served(pause: int, cost: int) -> None:
    def two() -> list[Client]:
        return [Client("resnet", pause * MS), Client("kmeans", pause * MS)]

    found = simulate(two(), 5 * MS, cost * MS, _UNTIL)
    compared = simulate(two(), 5 * MS, cost * MS, _UNTIL, FirstComeFirstServed())

    assert found.reprogrammings / sum(found.served.values()) < (
        compared.reprogrammings / sum(compared.served.values()) / 10
    )
    assert sum(found.served.values()) > 5 * sum(compared.served.values())


@pytest.mark.parametrize("programs", [2, 3, 5])
def test_no_program_starves(programs: int) -> None:
    clients = [Client(f"program {number % programs}", 0) for number in range(2 * programs)]

    found = simulate(clients, 5 * MS, 500 * MS, _UNTIL)

    fair = sum(found.served.values()) / programs
    assert min(found.served.values()) > fair / 4
    assert found.longest_wait <= 2 * programs * (SLICE + 1) * 500 * MS


def test_a_steady_program_is_not_interrupted_for_each_request_for_another() -> None:
    clients = [Client("steady", 0), Client("rare", 1000 * MS)]

    found = simulate(clients, 5 * MS, 500 * MS, _UNTIL)

    assert found.served["rare"] > _UNTIL / MS / 6000
    assert found.served["steady"] > _UNTIL / (5 * MS) / 2  # half of the time at least


def test_a_board_without_work_changes_its_program_after_a_moment() -> None:
    board = Reprogramming()
    board.given("one", 0, 0)
    board.given("two", 100 * MS, 100 * MS)
    board.ran(5 * MS, 200 * MS)
    other = {"one": Waiting(1, 0)}

    assert board.choose(other, 201 * MS) is None
    assert board.next_choice(other, 201 * MS) == 250 * MS
    assert board.choose({"one": Waiting(1, 50 * MS)}, 250 * MS) == "one"


def test_a_request_that_would_be_refused_soon_is_served_before_the_slice_is_over() -> None:
    board = Reprogramming()
    board.given("one", 0, 0)
    board.given("two", 100 * MS, 100 * MS)
    both = {"two": Waiting(1, 0), "one": Waiting(1, 0, left=300 * MS)}

    assert board.choose(both, 210 * MS) == "two"
    assert board.next_choice(both, 210 * MS) == 410 * MS
    assert board.choose(both | {"one": Waiting(1, 200 * MS, left=100 * MS)}, 410 * MS) == "one"


def test_what_the_first_program_takes_is_no_reprogramming() -> None:
    board = Reprogramming()

    assert board.choose({"one": Waiting(1, 0)}, 0) == "one"
    board.given("one", 100 * MS, 100 * MS)

    assert board.count == 0
    assert board.next_choice({"one": Waiting(1, 0)}, 0) is None


def test_a_slice_has_many_batches_also_where_reprogramming_is_quick() -> None:
    found = simulate([Client("one", 0), Client("two", 0)], 100 * MS, 1 * MS, _UNTIL)

    assert found.reprogrammings < sum(found.served.values()) / 10
