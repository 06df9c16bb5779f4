"""Tables and quantities for people, on a terminal or piped."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

_PIPED_WIDTH = 200  # without a terminal there is no reason to cut names at 80 characters


def show(table: "Table") -> None:
    """Prints a table to stdout, texts as they are: what they quote may look like rich's markup."""
    from rich.console import Console  # noqa: PLC0415 - each command loads only what it needs

    console = Console(markup=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    console.print(table)


def size(count: int) -> str:
    """A number of bytes, as in `1.5 GiB`."""
    scaled, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while scaled >= 1024 and len(units) > 1:
        scaled /= 1024
        units.pop(0)
    return f"{scaled:.1f} {units[0]}" if units[0] != "B" else f"{count} B"


def duration(ns: int) -> str:
    """Nanoseconds, as in `2.50 s` or `3.1 ms`."""
    return f"{ns / 1e9:.2f} s" if ns >= 1e9 else f"{ns / 1e6:.1f} ms"
