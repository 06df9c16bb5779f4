"""`spark-accel daemon` runs the node daemon or starts it in the background; `spark-accel status` says what it does."""

import json
import sys
from typing import Annotated, Any

import typer

from spark_accel import settings
from spark_accel.settings import Settings

Socket = Annotated[str | None, typer.Option(help="The daemon's Unix socket (spark.accel.daemon.socket).")]
Repository = Annotated[str | None, typer.Option(help="The model repository (spark.accel.repository).")]
Device = Annotated[
    str | None,
    typer.Option(
        help="auto, fpga, gpu, cpu, reference, PLATFORM:DEVICE, or several as in fpga,cpu (spark.accel.device)."
    ),
]

_PIPED_WIDTH = 180


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
        from spark_accel.daemon import devices  # noqa: PLC0415 - each command loads only what it needs

        chosen = chosen_settings(socket, repository, device)
        devices.check_form(chosen.device)
        if background:
            from spark_accel import launch  # noqa: PLC0415

            found = launch.ensure(chosen)
            print(json.dumps({"socket": str(found.socket), "pid": found.pid, "started": found.started}))
        else:
            from spark_accel.daemon import process  # noqa: PLC0415

            process.run(chosen)

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


def _print(facts: dict[str, Any]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    daemon = facts["daemon"]
    console.print(f"daemon {daemon['version']}, process {daemon['pid']}, at {daemon['socket']}", highlight=False)
    for title in ("devices", "models", "leases", "regions"):
        rows = facts[title]
        if not rows:
            console.print(f"no {title}")
            continue
        table = Table(title=title, title_justify="left")
        for key in rows[0]:
            table.add_column(key.replace("_", " "), overflow="fold")
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        console.print(table)
