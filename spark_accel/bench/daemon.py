"""The bench `daemon`: what a request costs besides its model, of our daemon and of a Triton server.

Both run a model that answers its input, in a process beside the server, and take turns, round by round, with the same
clients: 1, 8 and 64 processes on the cores that the servers have, too. Ours listens on a Unix socket, as always, Triton
on a local port. What ours adds to a network stands beside what Triton adds to a model that works as long.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from spark_accel.bench import (
    added_latency,
    added_latency_triton,
    failure,
    identity_clients,
    identity_servers,
    peers,
    progress,
)
from spark_accel.bench.added_latency import Added
from spark_accel.bench.identity_clients import VALUES, Turn
from spark_accel.bench.interruption import UntilInterrupted
from spark_accel.bench.network_inputs import prepare
from spark_accel.bench.options import Options
from spark_accel.bench.shown import Headline
from spark_accel.bench.summary import spread

CLIENTS = (1, 8, 64)
_Turns = Mapping[int, Sequence[Turn]]  # by clients


class _Server(NamedTuple):
    name: str
    title: str
    running: Callable[[Path], AbstractContextManager[str]]


_WAKING = (
    "a Unix socket wakes gRPC's client once more, when the server has read the request; a TCP socket, on which Triton"
    " listens, does not"
)
_AS_LONG = (
    "in Triton a model keeps all cores and memory busy for the time that our worker took, and answers how long that"
    " was, reading and writing tensors not counted; a request for it has no images"
)
_OURS = _Server("spark-accel", "spark-accel's daemon", identity_servers.daemon)
_TRITON = _Server("triton", peers.peer("triton").title, identity_servers.triton)


def measure(options: Options, counts: Sequence[int] = CLIENTS) -> dict[str, Any]:
    """Turns by server and number of clients, with tables of them."""
    reasons = {_OURS: ""}
    if _TRITON.name in options.peers:
        reasons[_TRITON] = peers.peer(_TRITON.name).missing()
    urls: dict[_Server, str] = {}
    turns: dict[str, dict[int, list[Turn]]] = {}
    network, added, in_triton = "", list[Added](), list[Added]()
    rounds = UntilInterrupted()
    with rounds, tempfile.TemporaryDirectory(prefix="accel-bench-") as folder, ExitStack() as running:
        for server in [server for server, reason in reasons.items() if not reason]:
            with _told(server, reasons):
                urls[server] = running.enter_context(server.running(Path(folder)))
        turns |= {server.name: {count: [] for count in counts} for server in urls}
        for count in counts:
            for number in range(options.rounds):
                progress.say(f"{_clients(count)}, round {number + 1} of {options.rounds}")
                for server in [server for server in urls if not reasons[server]]:
                    with _told(server, reasons):
                        turns[server.name][count].append(identity_clients.ask(urls[server], count, options.seconds))
    if not rounds.interrupted:
        with rounds, tempfile.TemporaryDirectory(prefix="accel-bench-") as folder:
            inputs = prepare(options, Path(folder))
            network = inputs.name
            progress.say(f"what the daemon adds to {network}")
            added = added_latency.measure(inputs, options.settings, Path(folder), options.seconds)
            if _TRITON in urls and not reasons[_TRITON]:
                progress.say(f"what {_TRITON.title} adds to a model that works as long")
                with _told(_TRITON, reasons):
                    in_triton = added_latency_triton.measure(added, Path(folder), options.seconds)
    mark = rounds.mark(any(turns.get(_OURS.name, {}).values()))
    skipped = [{"title": server.title, "reason": reason} for server, reason in reasons.items() if reason]
    contenders = [
        {
            "name": server.name,
            "title": server.title,
            "turns": {str(count): [asdict(turn) for turn in turns[server.name][count]] for count in counts},
        }
        for server in urls
    ]
    return {
        **mark,
        "contenders": contenders,
        "skipped": skipped,
        "network": network,
        "added": [asdict(one) for one in added],
        "added_in_triton": [asdict(one) for one in in_triton],
        "tables": [
            _table(list(urls), turns, skipped),
            *([_added_table(network, added, in_triton)] if added else []),
        ],
        "headlines": _headlines(turns),
    }


@contextmanager
def _told(server: _Server, reasons: dict[_Server, str]) -> Iterator[None]:
    """Notes in `reasons` why a server failed, so that what was measured is not lost with it; ours may not fail."""
    try:
        yield
    except Exception as error:  # a peer's failure is a line in the results
        if server is _OURS:
            raise
        reasons[server] = f"it failed: {failure.line(error)}"
        progress.say(f"{server.title}: {reasons[server]}")


def _table(
    servers: Sequence[_Server], turns: Mapping[str, _Turns], skipped: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    rows = []
    for count in turns[_OURS.name]:
        for server in servers:
            found = turns[server.name][count]
            if not found:  # interrupted before
                continue
            rates = spread(turn.requests_per_second for turn in found).text(0)
            round_trips = [spread(getattr(turn, name) for turn in found).text(2) for name in ("p50", "p99")]
            cost = f"{spread(turn.client_us for turn in found).median:.0f}"
            sleeps = f"{spread(turn.client_sleeps for turn in found).median:.1f}"
            rows.append([f"{_clients(count)}: {server.title}", rates, *round_trips, cost, sleeps])
    return {
        "title": f"A model that answers its input, {VALUES:,} float32 values inline, tritonclient over gRPC",
        "columns": [
            "",
            "requests/s",
            "round trip, median, ms",
            "99th percentile, ms",
            "client's processor time a request, µs",
            "its sleeps a request",
        ],
        "rows": rows,
        "notes": [_WAKING, *(f"{one['title']}: skipped, {one['reason']}" for one in skipped)],
    }


def _headlines(turns: Mapping[str, _Turns]) -> list[dict[str, Any]]:
    if _TRITON.name not in turns:
        return []
    ours, theirs = turns[_OURS.name], turns[_TRITON.name]
    found = []
    for count in [count for count in ours if theirs[count]]:
        times = spread(
            mine.requests_per_second / other.requests_per_second
            for mine, other in zip(ours[count], theirs[count], strict=False)
        )
        found.append(asdict(Headline.of(f"requests/s, {_clients(count)}", _TRITON.title, times)))
    return found


def _clients(count: int) -> str:
    return f"{count} client{'s' * (count > 1)}"


def _added_table(network: str, added: Sequence[Added], in_triton: Sequence[Added]) -> dict[str, Any]:
    rows = {f"batch {one.batch}": one for one in added}
    rows |= {f"batch {one.batch}, as long in {_TRITON.title}": one for one in in_triton}
    return {
        "title": f"What the daemon adds to a network ({network}): one client, images in a region; medians, ms",
        "columns": ["", "round trip", "the worker's own time", "added", "requests"],
        "rows": [
            [title, f"{one.round_trip:.2f}", f"{one.worker:.2f}", f"{one.added:.2f}", str(one.requests)]
            for title, one in sorted(rows.items(), key=lambda row: row[1].batch)
        ],
        "notes": [_AS_LONG] * bool(in_triton),
    }
