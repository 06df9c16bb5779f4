"""The bench `daemon`: what a request costs besides its model, of our daemon and of a Triton server.

Both run a model that answers its input, in a process beside the server, and take turns, round by round, with the same
clients: 1, 8 and 64 processes on the cores that the servers have, too. Ours listens on a Unix socket, as always, Triton
on a local port.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Protocol

from spark_accel.bench import identity_clients, identity_servers
from spark_accel.bench.identity_clients import VALUES, Turn

CLIENTS = (1, 8, 64)
_Turns = Mapping[int, Sequence[Turn]]  # by clients


class Options(Protocol):
    """What is taken of the suite's options."""

    @property
    def peers(self) -> Sequence[str]:
        """Names, `triton` for one."""

    @property
    def rounds(self) -> int:
        """Turns of each server."""

    @property
    def seconds(self) -> float:
        """Of a turn."""


class _Server(NamedTuple):
    name: str
    title: str
    missing: Callable[[], str]
    running: Callable[[Path], AbstractContextManager[str]]


_OURS = _Server("spark-accel", "spark-accel's daemon", lambda: "", identity_servers.daemon)
_TRITON = _Server("triton", "Triton, Python backend", identity_servers.triton_missing, identity_servers.triton)


def measure(options: Options, counts: Sequence[int] = CLIENTS) -> dict[str, Any]:
    """Turns by server and number of clients, with tables of them."""
    wanted = [_OURS, *([_TRITON] if "triton" in options.peers else [])]
    reasons = {server: server.missing() for server in wanted}
    servers = [server for server in wanted if not reasons[server]]
    turns: dict[str, dict[int, list[Turn]]] = {server.name: {count: [] for count in counts} for server in servers}
    with tempfile.TemporaryDirectory(prefix="accel-bench-") as folder, ExitStack() as running:
        urls = {server: running.enter_context(server.running(Path(folder))) for server in servers}
        for count in counts:
            for _ in range(options.rounds):
                for server in servers:
                    turns[server.name][count].append(identity_clients.ask(urls[server], count, options.seconds))
    skipped = [{"title": server.title, "reason": reason} for server, reason in reasons.items() if reason]
    contenders = [
        {
            "name": server.name,
            "title": server.title,
            "turns": {str(count): [asdict(turn) for turn in turns[server.name][count]] for count in counts},
        }
        for server in servers
    ]
    return {
        "contenders": contenders,
        "skipped": skipped,
        "tables": [_table(servers, turns, skipped)],
        "headlines": _headlines(turns),
    }


def _table(
    servers: Sequence[_Server], turns: Mapping[str, _Turns], skipped: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    rows = []
    for count in turns[_OURS.name]:
        for server in servers:
            found = turns[server.name][count]
            rates = _spread([turn.requests_per_second for turn in found], 0)
            round_trips = (_spread([turn.p50 for turn in found], 2), _spread([turn.p99 for turn in found], 2))
            rows.append([f"{count} client{'s' * (count > 1)}: {server.title}", rates, *round_trips])
    return {
        "title": f"A model that answers its input, {VALUES:,} float32 values inline, tritonclient over gRPC",
        "columns": ["", "requests/s", "round trip, median, ms", "99th percentile, ms"],
        "rows": rows,
        "notes": [f"{one['title']}: skipped, {one['reason']}" for one in skipped],
    }


def _headlines(turns: Mapping[str, _Turns]) -> list[dict[str, Any]]:
    if _TRITON.name not in turns:
        return []
    ours, theirs = turns[_OURS.name], turns[_TRITON.name]
    return [
        {
            "what": f"requests/s, {count} client{'s' * (count > 1)}",
            "against": _TRITON.title,
            "times": median(
                mine.requests_per_second / other.requests_per_second
                for mine, other in zip(ours[count], theirs[count], strict=True)
            ),
        }
        for count in ours
    ]


def _spread(values: Sequence[float], digits: int) -> str:
    """`21.2 (20.5 to 22.2)`."""
    middle, least, most = (f"{value:,.{digits}f}" for value in (median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})"
