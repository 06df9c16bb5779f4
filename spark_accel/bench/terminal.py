"""Results on a terminal."""

from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from spark_accel.bench.network_tables import layer_table
from spark_accel.bench.shown import Table, headline_table
from spark_accel.bench.tables import shown

_PIPED_WIDTH = 180


def show(document: dict[str, Any], layers: bool) -> None:
    """Prints all tables, that of the layers where they are asked for, how many times as fast ours is, and what all was
    measured on."""
    console = Console()
    console = console if console.is_terminal else Console(width=_PIPED_WIDTH)
    headlines = []
    for name, result in document["benches"].items():
        of_bench = shown(name, result)
        if of_bench.failed:
            console.print(f"{name}: failed: {of_bench.failed}", markup=False, highlight=False)
        for table in of_bench.tables:
            _print(console, table)
        if layers and result.get("profile"):
            _print(console, layer_table(result["profile"]))
        headlines += of_bench.headlines
    if headlines:
        _print(console, headline_table(headlines))
    for line in about(document["about"]):
        console.print(line, markup=False, highlight=False)


def about(facts: dict[str, Any]) -> list[str]:
    """The machine, the versions, the commit and what was asked for, a line each."""
    flags = ", ".join(facts["flags"]) or "none of those that matter"
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return [
        f"machine: {facts['processor']} ({flags}), {facts['threads']} of {facts['cores']} cores, "
        f"{facts['memory_gib']} GiB, {facts['system']}"
        + (f", load {facts['load']:g} when it began" if "load" in facts else ""),
        f"versions: {versions}",
        f"commit: {facts['commit'] or 'not a checkout'}, {facts['date']}",
        *([f"options: {facts['options']}"] if "options" in facts else []),
    ]


def _print(console: Console, table: Table) -> None:
    rich = RichTable(title=escape(table.title), title_justify="left", box=box.SIMPLE_HEAD)
    for index, column in enumerate(table.columns):
        rich.add_column(escape(column), justify="right" if index else "left")
    for row in table.rows:
        rich.add_row(*map(escape, row))
    console.print(rich)
    for note in table.notes:
        console.print(f"  {note}", markup=False, highlight=False)
    console.print()
