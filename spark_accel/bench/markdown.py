"""`docs/benchmarks.md`, made of result files: every row stays in, those where we lose, too."""

from pathlib import Path
from typing import Any

from spark_accel.bench.shown import Table, headline_table
from spark_accel.bench.tables import shown
from spark_accel.bench.terminal import about
from spark_accel.errors import ConfigurationError

_HEAD = """# Benchmarks

<!-- made by `spark-accel bench report … --markdown` (`make docs`) from the results beside it; don't edit -->

`spark-accel bench all --json FILE` measures, `make bench` does that after installing the peers. Contenders take turns,
round by round, on the same cores and the same number of threads: networks and servers each in a process of its own,
fits in one Spark session, UDFs each with Python workers of their own. Where the machine is a virtual one its speed
changes from minute to minute: compare figures of one table, not of two.
"""


def page(documents: list[tuple[str, dict[str, Any]]]) -> str:
    """The page for results with the names of their files."""
    return _HEAD + "".join(_section(name, document) for name, document in documents)


def check(path: Path, text: str) -> None:
    """Raises ConfigurationError if the file is not what the results say."""
    try:
        found = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist: without --check it is made") from None
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"{path} can't be read: {error}") from error
    if found != text:
        raise ConfigurationError(f"{path} is not what the results say: run `make docs`")


def _section(name: str, document: dict[str, Any]) -> str:
    parts = [shown(bench, result) for bench, result in document["benches"].items()]
    headlines = [headline for part in parts for headline in part.headlines]
    facts = "".join(f"- {line}\n" for line in about(document["about"]))
    machine = f"{document['about']['processor']}, {document['about']['threads']} threads"
    text = f"\n## {', '.join(document['benches'])}: {machine}\n\n{facts}- results: `{name}`\n"
    if headlines:
        text += "\n### How many times as fast\n\n" + _table(headline_table(headlines))
    for part in parts:
        if part.failed:
            text += f"\n### {part.bench}\n\nFailed: {part.failed}\n"
        for table in part.tables:
            text += f"\n### {_sentence(table.title)}\n\n{_table(table)}"
            text += "".join(["\n", *(f"- {note}\n" for note in table.notes)]) if table.notes else ""
    return text


def _table(table: Table) -> str:
    lines = [table.columns, ["---", *["---:"] * (len(table.columns) - 1)], *table.rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _sentence(title: str) -> str:
    return title[:1].upper() + title[1:]
