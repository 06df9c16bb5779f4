"""FPGA boards as numbers: `boards.json`, or a user's file with one of its entries."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from spark_accel.errors import ConfigurationError

_TABLE = Path(__file__).with_name("boards.json")


@dataclass(frozen=True)
class Memory:
    """Blocks of on-chip memory: so many, each of `depth` words of `width` bits."""

    name: str
    blocks: int
    width: int
    depth: int


@dataclass(frozen=True)
class Board:
    """`products_per_dsp` are int8 products in a cycle, by the `packing`; `wide_` ones are of 12 bits. `dies` are parts
    that an engine must not straddle. `clock_mhz` is an assumption, not a property; bandwidths are peaks; `watts` is the
    rated power.
    """

    name: str
    title: str
    dsps: int
    products_per_dsp: int
    wide_products_per_dsp: int
    packing: str
    memories: tuple[Memory, ...]
    dies: int
    clock_mhz: float
    memory_gb_s: float
    host_gb_s: float
    watts: float
    toolchain: str
    source: str


def names() -> list[str]:
    """The boards of the table."""
    return list(_read(_TABLE))


def board(name: str) -> Board:
    """A board of the table, or that of a JSON file; raises ConfigurationError."""
    table = _read(_TABLE)
    if name in table:
        return _board(name, table[name], _TABLE)
    path = Path(name)
    try:
        there = path.is_file()
    except OSError:  # the name is too long, a folder not readable
        there = False
    if not there:
        known = ", ".join(table)
        raise ConfigurationError(f"board '{name}': expected {known}, or a JSON file with an entry like theirs")
    return _board(path.stem, _read(path), path)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} can't be read as a board: {error}") from error
    if not isinstance(found, dict):
        raise ConfigurationError(f"{path} is no board: expected an object, as those in {_TABLE}")
    return found


def _board(name: str, row: Any, path: Path) -> Board:  # noqa: ANN401 - whatever JSON holds
    try:
        lacks = [one.name for one in fields(Board) if one.name not in {"name", *row}]
        if lacks:
            raise KeyError(lacks[0])
        memories = tuple(Memory(**memory) for memory in row["memories"])
        board = Board(**{**row, "name": name, "memories": memories})
    except (TypeError, KeyError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ConfigurationError(f"{path} is no board: {reason}; it is like one of the entries of {_TABLE}") from error
    if not memories:
        raise ConfigurationError(f"{path}: memories are none; a board has at least one kind")
    holders: tuple[Board | Memory, ...] = (board, *memories)
    for holder in holders:
        for field in fields(holder):
            value = getattr(holder, field.name)
            if field.type is str and not (isinstance(value, str) and value.isprintable()):
                raise ConfigurationError(f"{path}: {field.name} is {value!r}, expected a text of one line")
            if field.type in (int, float) and not _is_number(value, whole=field.type is int):
                kind = "a whole number above 0" if field.type is int else "a number from 1e-9"
                raise ConfigurationError(f"{path}: {field.name} is {value!r}, expected {kind}, below 1e9")
    return board


def _is_number(value: object, *, whole: bool) -> bool:
    if isinstance(value, bool) or (whole and not isinstance(value, int)):
        return False
    return isinstance(value, int | float) and 1e-9 <= value < 1e9
