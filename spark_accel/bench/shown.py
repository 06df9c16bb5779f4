"""The two things that results are shown as."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Table:
    """Cells are text; the first column names what a row is about."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Headline:
    """Ours is `times` as fast as `against` at `what`; below 1 it is slower."""

    what: str
    against: str
    times: float


def skipped(result: dict[str, Any]) -> list[str]:
    """Notes that name who did not take part, and why."""
    absent = [f"{one['title']}: skipped, {one['reason']}" for one in result.get("skipped", [])]
    broken = [f"{one['title']}: failed, {one['failed']}" for one in result.get("contenders", []) if one.get("failed")]
    return absent + broken
