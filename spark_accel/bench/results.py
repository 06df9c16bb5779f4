"""The suite's JSON: everything that was measured, with the machine it was measured on."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spark_accel.bench import failure, output
from spark_accel.errors import ConfigurationError

_FORMAT = 1


def document(about: dict[str, Any], benches: dict[str, Any]) -> dict[str, Any]:
    """`about` is `machine.facts`; `benches` are results by name, or {"failed": reason}."""
    return {"format": _FORMAT, "about": about, "benches": benches}


def write(document: dict[str, Any], path: Path) -> None:
    """As text that changes little from one run to the next; raises ConfigurationError where that can't be done."""
    output.write(json.dumps(_rounded(document), indent=1) + "\n", path)


def read(path: Path) -> dict[str, Any]:
    """What `write` has written; raises ConfigurationError for another file."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} can't be read as results of `spark-accel bench --json`: {error}") from error
    parts = [found.get(key) for key in ("about", "benches")] if isinstance(found, dict) else []
    if not parts or found.get("format") != _FORMAT or not all(isinstance(part, dict) for part in parts):
        raise ConfigurationError(f"{path} has no results of `spark-accel bench --json`, format {_FORMAT}")
    return found


@contextmanager
def damage_named(*paths: Path) -> Iterator[None]:
    """Around what shows results of these files: parts that are missing or of a wrong type are a ConfigurationError."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        names, reason = ", ".join(map(str, paths)), failure.line(error)
        raise ConfigurationError(f"{names} can't be shown, parts are missing or of a wrong type: {reason}") from error


def _rounded(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Six digits say all that a clock knows."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value
