"""`spark-accel devices`: the OpenCL devices of this node and which of them the settings choose."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from spark_accel import settings
from spark_accel.cli import tables

if TYPE_CHECKING:
    from spark_accel.daemon.devices import DeviceFacts


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command()
    def devices(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
        """Print the devices of this node; a daemon drives those that are selected (setting spark.accel.device)."""
        from spark_accel.daemon import devices  # noqa: PLC0415 - each command loads only what it needs

        chosen = settings.from_environment()
        facts = devices.discover_in_subprocess()
        selected = devices.select(facts, chosen.device, chosen.fallback)
        if as_json:
            print(json.dumps([{**asdict(one), "selected": one in selected} for one in facts]))
        else:
            _print(facts, selected)


def _print(facts: "Sequence[DeviceFacts]", selected: "Sequence[DeviceFacts]") -> None:
    from rich.table import Column, Table  # noqa: PLC0415

    table = Table("selected", Column("id", no_wrap=True), "kind", "platform", "name", "compute units", "memory")
    for one in facts:
        units = str(one.compute_units or "")
        memory = tables.size(one.memory_bytes) if one.memory_bytes else ""
        table.add_row("yes" if one in selected else "", one.id, one.kind, one.platform, one.name, units, memory)
    tables.show(table)
