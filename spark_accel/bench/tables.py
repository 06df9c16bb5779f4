"""What results say in tables and in a line, ready to be shown: on a terminal, in Markdown, on a page."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from spark_accel.bench import fit_tables, network_tables, spark_tables
from spark_accel.bench.shown import Headline, Table

_MAKERS: dict[str, tuple[Callable[..., list[Table]], Callable[..., list[Headline]]]] = {
    "resnet50": (network_tables.tables, network_tables.headlines),
    "kmeans": (fit_tables.tables, fit_tables.headlines),
    "logistic": (fit_tables.tables, fit_tables.headlines),
    "naive-bayes": (fit_tables.tables, fit_tables.headlines),
    "spark": (spark_tables.tables, spark_tables.headlines),
}
_INTERRUPTED = "interrupted: these are the rounds that had ended before"


@dataclass(frozen=True)
class Shown:
    """A bench's tables and headlines; `failed` says why there are none."""

    bench: str
    tables: list[Table] = field(default_factory=list)
    headlines: list[Headline] = field(default_factory=list)
    failed: str = ""


def shown(bench: str, result: dict[str, Any]) -> Shown:
    """Of a bench that is not in the table above the result itself brings `tables` and `headlines`."""
    if "failed" in result:
        return Shown(bench, failed=result["failed"])
    if bench in _MAKERS:
        make_tables, make_headlines = _MAKERS[bench]
        tables, headlines = make_tables(result), make_headlines(result)
    else:
        tables = [Table(**table) for table in result.get("tables", [])]
        headlines = [Headline(**one) for one in result.get("headlines", [])]
    if result.get("interrupted"):
        tables = [replace(table, notes=[*table.notes, _INTERRUPTED]) for table in tables]
    return Shown(bench, tables, headlines)
