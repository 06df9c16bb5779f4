"""`spark-accel daemon` runs the node daemon or starts it detached, `stop` ends it, and `status` says what it does."""

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from spark_accel import settings
from spark_accel.cli import tables
from spark_accel.settings import Settings

Socket = Annotated[str | None, typer.Option(help="The daemon's Unix socket (spark.accel.daemon.socket).")]
Repository = Annotated[str | None, typer.Option(help="The model repository (spark.accel.repository).")]
Device = Annotated[
    str | None,
    typer.Option(
        help="auto, fpga, gpu, cpu, reference, PLATFORM:DEVICE, or several as in fpga,cpu (spark.accel.device)."
    ),
]

# By field: what a column of it is called for people, and how its values are written.
_QUANTITIES: dict[str, tuple[str, Callable[[int], str]]] = {
    "memory_bytes": ("memory", tables.size),
    "byte_size": ("size", tables.size),
    "offset": ("offset", tables.size),
    "reprogramming_ns": ("reprogramming", tables.duration),
}


def register(app: typer.Typer) -> None:
    """Adds the commands."""

    @app.command()
    def daemon(
        socket: Socket = None,
        repository: Repository = None,
        device: Device = None,
        background: Annotated[
            bool, typer.Option("--background", help="Start it detached, unless one answers; print where as JSON.")
        ] = False,
    ) -> None:
        """Run the node daemon, which drives this node's devices for all executors and tasks of the user."""
        from spark_accel import endpoint  # noqa: PLC0415 - each command loads only what it needs

        chosen = chosen_settings(socket, repository, device)
        if endpoint.answers(chosen.daemon_socket):
            _say_unused(chosen, {"--repository": repository, "--device": device}, socket)
        if background:
            from spark_accel import launch  # noqa: PLC0415

            found = launch.ensure(chosen)
            print(json.dumps({"socket": str(found.socket), "pid": found.pid, "started": found.started}))
        else:
            from spark_accel.daemon import process  # noqa: PLC0415

            process.run(chosen)

    @app.command()
    def stop(socket: Socket = None) -> None:
        """End the running daemon and wait for that: it finishes what it has accepted; status 1 if none answers."""
        from spark_accel import launch  # noqa: PLC0415

        chosen = chosen_settings(socket, None, None)
        pid = launch.end(chosen)
        print(f"the daemon at {chosen.daemon_socket}, process {pid}, has ended")

    @app.command()
    def status(
        socket: Socket = None,
        repository: Repository = None,
        device: Device = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """Print what the running daemon drives, serves and holds; ends with status 1 if none answers."""
        from spark_accel import daemon_status  # noqa: PLC0415

        facts = daemon_status.collect(chosen_settings(socket, repository, device))
        if as_json:
            print(json.dumps(facts))
        else:
            _print(facts)


def chosen_settings(socket: str | None, repository: str | None, device: str | None) -> Settings:
    """The environment's settings, with what the three options give."""
    given = {"daemon_socket": socket, "repository": repository, "device": device}
    return settings.override(settings.from_environment(), **given)


def _say_unused(chosen: Settings, options: dict[str, str | None], socket: str | None) -> None:
    given = " and ".join(option for option, value in options.items() if value is not None)
    if given:
        stop = f"spark-accel stop --socket {socket}" if socket else "spark-accel stop"
        print(
            f"spark-accel: {given}: not used, a daemon runs at {chosen.daemon_socket} already; end it first (`{stop}`),"
            " or give another --socket",
            file=sys.stderr,
        )


def _print(facts: dict[str, Any]) -> None:
    from rich.table import Table  # noqa: PLC0415

    daemon = facts["daemon"]
    print(f"daemon {daemon['version']}, process {daemon['pid']}, at {daemon['socket']}")
    for title in ("devices", "models", "leases", "regions"):
        rows = facts[title]
        if not rows:
            print(f"no {title}{': ' + facts['failure'] if title == 'devices' else ''}")
            continue
        keys = [key for key in rows[0] if key != "failure"]  # a sentence, where there is one, has a line of its own
        table = Table(title=title, title_justify="left")
        for key in keys:
            table.add_column(_QUANTITIES[key][0] if key in _QUANTITIES else key.replace("_", " "), overflow="fold")
        for row in rows:
            table.add_row(*(_QUANTITIES[key][1](row[key]) if key in _QUANTITIES else str(row[key]) for key in keys))
        tables.show(table)
        for row in [*rows, facts] if title == "devices" else []:
            if row["failure"]:
                print(row["failure"])
