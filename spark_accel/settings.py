"""The configuration: one table (`settings.json`), read from Spark's `spark.accel.*` or from `SPARK_ACCEL_*`.

The table is a data file because the bridge reads it too. `docs/configuration.md` is made from it (`make docs`).
"""

import difflib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from spark_accel.errors import ConfigurationError

SPARK_PREFIX = "spark.accel."
ENVIRONMENT_PREFIX = "SPARK_ACCEL_"

_TABLE = Path(__file__).with_name("settings.json")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"b": 1, "": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


@dataclass(frozen=True)
class Key:
    """One row of the table."""

    key: str
    type: str
    default: str
    meaning: str
    choices: tuple[str, ...] = ()

    @property
    def spark(self) -> str:
        """The name in a Spark configuration: `spark.accel.daemon.idleTimeout`."""
        return SPARK_PREFIX + self.key

    @property
    def environment(self) -> str:
        """The name in the environment: `SPARK_ACCEL_DAEMON_IDLE_TIMEOUT`."""
        return ENVIRONMENT_PREFIX + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.key).replace(".", "_").upper()

    @property
    def attribute(self) -> str:
        """The name of the attribute of `Settings`: `daemon_idle_timeout`."""
        return self.environment.removeprefix(ENVIRONMENT_PREFIX).lower()


@cache
def table() -> tuple[Key, ...]:
    """All keys, in the order of the documentation."""
    rows = json.loads(_TABLE.read_text(encoding="utf-8"))
    return tuple(Key(**{**row, "choices": tuple(row.get("choices", ()))}) for row in rows)


@dataclass(frozen=True)
class Settings:
    """The resolved configuration. Times are in seconds, sizes in bytes, paths absolute.

    `given` holds the keys that somebody set, with the text they gave: what is passed on to a daemon or a worker.
    """

    enabled: bool
    device: str
    kernels: str
    repository: Path
    daemon_start: bool
    daemon_socket: Path
    daemon_idle_timeout: float
    daemon_python: str
    fallback: str
    ml_precision: str
    memory_dir: Path
    memory_limit: int
    given: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """What was set, as environment variables that `from_environment` reads back."""
        return {row.environment: self.given[row.key] for row in table() if row.key in self.given}

    @property
    def daemon_address(self) -> str:
        """The daemon's address as gRPC writes it."""
        return f"unix:{self.daemon_socket}"


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from `SPARK_ACCEL_*`; what is not set has its default.

    Raises ConfigurationError for an unknown name or a value that can't be read.
    """
    environment = os.environ if environment is None else environment
    names = {row.environment: row for row in table()}
    found = {name: value for name, value in environment.items() if name.startswith(ENVIRONMENT_PREFIX)}
    return _resolve({_known(name, names).key: (name, value) for name, value in found.items()})


def from_spark(configuration: Mapping[str, str], environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from a Spark configuration, over those of the environment. Keys outside `spark.accel.` are ignored.

    Raises ConfigurationError for an unknown `spark.accel.` key or a value that can't be read.
    """
    names = {row.spark: row for row in table()}
    found = {name: value for name, value in configuration.items() if name.startswith(SPARK_PREFIX)}
    base = from_environment(environment).given
    by_key = {row.key: (row.environment, base[row.key]) for row in table() if row.key in base}
    return _resolve(by_key | {_known(name, names).key: (name, value) for name, value in found.items()})


def override(settings: Settings, **values: str | None) -> Settings:
    """`settings` with attributes given as text, as a command line does; None changes nothing."""
    rows = {row.attribute: row for row in table()}
    given = {key: (SPARK_PREFIX + key, text) for key, text in settings.given.items()}
    for attribute, text in values.items():
        if text is not None:
            if rows[attribute].type == "path" and text and not text.startswith("~"):
                text = str(Path(text).absolute())  # noqa: PLW2901 - typed by somebody in this folder
            given[rows[attribute].key] = ("--" + attribute.removeprefix("daemon_").replace("_", "-"), text)
    return _resolve(given)


def _known(name: str, names: Mapping[str, Key]) -> Key:
    if name in names:
        return names[name]
    by_lower = {known.lower(): known for known in names}
    nearest = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.0)
    raise ConfigurationError(f"unknown setting '{name}'; nearest: '{by_lower[nearest[0]]}'")


def _resolve(given: Mapping[str, tuple[str, str]]) -> Settings:
    values: dict[str, Any] = {}
    for row in table():
        name, text = given.get(row.key, (row.spark, _default(row)))
        try:
            values[row.attribute] = _parse(row, text)
        except ValueError as error:
            raise ConfigurationError(f"{name} is '{text}': {error}") from None
    return Settings(**values, given={key: text for key, (_, text) in given.items()})


def _default(row: Key) -> str:
    if row.key == "memory.dir" and not os.access(row.default, os.W_OK):
        return tempfile.gettempdir()
    return row.default


def _parse(row: Key, text: str) -> bool | float | int | str | Path:
    if row.type == "boolean":
        if text.lower() not in ("true", "false"):
            raise ValueError("expected true or false")
        return text.lower() == "true"
    if row.type == "choice" and text not in row.choices:
        raise ValueError(f"expected one of {', '.join(row.choices)}")
    if row.type == "devices" and not all(part.strip() in row.choices or ":" in part for part in text.split(",")):
        names = ", ".join(row.choices)
        raise ValueError(f"expected {names} or PLATFORM:DEVICE, or several of them with commas between")
    if row.type == "duration":
        return _quantity(text, _SECONDS, "a time such as 500ms, 60s or 10min")
    if row.type == "bytes":
        return int(_quantity(text.lower().removesuffix("b"), _BYTES, "a size such as 512m or 4g"))
    if row.type == "path":
        if not text:
            raise ValueError("expected a path")
        try:
            path = Path(text.replace("{uid}", str(os.getuid()))).expanduser()
        except RuntimeError as error:  # nobody's home
            raise ValueError(f"{error}; expected an absolute path") from None
        if not path.is_absolute():  # driver, tasks and daemon have working folders of their own
            raise ValueError("expected an absolute path")
        return path
    return text


def _quantity(text: str, units: Mapping[str, float], expected: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip())
    if match is None or match[2] not in units:
        raise ValueError(f"expected {expected}")
    return float(match[1]) * units[match[2]]
