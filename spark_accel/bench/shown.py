"""The two things that results are shown as."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from spark_accel.bench.summary import Spread


@dataclass(frozen=True)
class Table:
    """All is text, or TypeError is raised: results may bring their tables. The first column names what a row is of."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        cells = [cell for row in self.rows for cell in row]
        if not all(isinstance(text, str) for text in (self.title, *self.columns, *cells, *self.notes)):
            raise TypeError(f"the table {self.title!r} has what is not text")


@dataclass(frozen=True)
class Headline:
    """Ours is `times` as fast as `against` at `what`; below 1 it is slower. `least` and `most` are those of the rounds,
    None in results of daemons that were measured before they were kept."""

    what: str
    against: str
    times: float
    least: float | None = None
    most: float | None = None

    @classmethod
    def of(cls, what: str, against: str, times: Spread) -> "Headline":
        """With what the rounds say of it."""
        return cls(what, against, times.median, times.least, times.most)

    @property
    def undecided(self) -> bool:
        """Whether ours was slower in one round and faster in another."""
        return self.least is not None and self.most is not None and self.least <= 1 <= self.most


def headline_table(headlines: Iterable[Headline]) -> Table:
    """Under the title that the page has, too."""
    rows = [[one.what, one.against, f"{one.times:.2f}{_remark(one)}"] for one in headlines]
    return Table("How many times as fast", ["work", "against", "spark-accel is as fast, times"], rows)


def _remark(headline: Headline) -> str:
    parts = ["slower"] if headline.times < 1 else []
    parts += [f"rounds from {headline.least:.2f} to {headline.most:.2f}"] if headline.undecided else []
    return f" ({'; '.join(parts)})" if parts else ""


def skipped(result: dict[str, Any]) -> list[str]:
    """Notes that name who did not take part, and why."""
    absent = [f"{one['title']}: skipped, {one['reason']}" for one in result.get("skipped", [])]
    broken = [f"{one['title']}: failed, {one['failed']}" for one in result.get("contenders", []) if one.get("failed")]
    return absent + broken
