"""What the command line of the suite may ask for, checked once for all benches."""

import csv
import json
import os
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from spark_accel import model_store, settings
from spark_accel.errors import ConfigurationError


@dataclass(frozen=True)
class Options:
    """How to measure. `peers` are names of `peers.py`; `model` is an ONNX file, a model of the repository, or empty for
    ResNet50's layers with random weights; `images` a folder, empty for the package's photographs; `labels` a CSV with
    the columns `file` (in that folder) and `class_index`, empty for no top-1. `seconds` is the least time of a turn.
    `rows` are those of Spark's long run, `scale` multiplies the rows that estimators are fitted on.
    `watts` and `price_per_hour` are 0 where they are not given. `settings` are environment variables of the settings.
    """

    peers: tuple[str, ...] = ()
    images: str = ""
    model: str = ""
    labels: str = ""
    rounds: int = 5
    seconds: float = 2.0
    batches: tuple[int, ...] = (1, 8, 16, 32, 128)
    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    watts: float = 0.0
    price_per_hour: float = 0.0
    rows: int = 20_000
    scale: float = 1.0
    settings: dict[str, str] = field(default_factory=dict)

    def checked(self) -> "Options":
        """Itself; raises ConfigurationError, naming the option, or ModelError for what can't be measured."""
        cores = len(os.sched_getaffinity(0))
        for name, wrong, expected in (
            ("--images", bool(self.images) and not Path(self.images).is_dir(), "a folder that exists"),
            ("--labels", bool(self.labels) and not Path(self.labels).is_file(), "a CSV file that exists"),
            ("--model", self._has_no_file(), "an ONNX file that exists"),
            ("--threads", not 1 <= self.threads <= cores, f"1 to {cores}, the cores that there are"),
            ("--rounds", self.rounds < 1, "1 or more"),
            ("--seconds", not 0 < self.seconds < 1e6, "more than 0"),
            ("--watts", not 0 <= self.watts < 1e9, "more than 0"),
            ("--price-per-hour", not 0 <= self.price_per_hour < 1e9, "more than 0"),
            ("--rows", self.rows < 0, "0 or more"),
            ("--scale", not 1e-3 <= self.scale < 1e6, "0.001 or more: k-means is to find 100 centres"),
        ):
            if wrong:
                value = getattr(self, name.removeprefix("--").replace("-", "_"))
                raise ConfigurationError(f"{name} is {value!r}: expected {expected}")
        if self.labels and not self.images:
            raise ConfigurationError("--labels needs --images: the folder that its files lie in")
        self.labelled()
        if self.model and not self.model.endswith(".onnx"):
            model_store.facts(settings.from_environment(self.settings).repository, self.model)
        return self

    def shown(self, takes: Collection[str]) -> str:
        """What decides what is measured by a bench that `takes` these, as on the command line; without folders, which
        are one machine's own."""
        values = {
            "model": Path(self.model).name,
            "images": "..." if self.images else "",
            "labels": "..." if self.labels else "",
            "peers": ",".join(self.peers) or "none",
            "rounds": str(self.rounds),
            "seconds": f"{self.seconds:g}",
            "batches": ",".join(map(str, self.batches)),
            "threads": str(self.threads),
            "rows": str(self.rows),
            "scale": f"{self.scale:g}",
        }
        shared = ("peers", "rounds", "threads")
        return " ".join(f"--{name} {text}" for name, text in values.items() if text and name in (*shared, *takes))

    def _has_no_file(self) -> bool:
        """Whether the model can't be one of the repository, for it has no such name, and is no file either."""
        return (self.model.endswith(".onnx") or "/" in self.model) and not Path(self.model).is_file()

    def labelled(self) -> list[tuple[Path, int]]:
        """The photographs in `labels` and their classes; raises ConfigurationError for a file of another form."""
        if not self.labels:
            return []
        try:
            with Path(self.labels).open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write a mark first
                found = [(Path(self.images) / row["file"], int(row["class_index"])) for row in csv.DictReader(file)]
            absent = next((path for path, _ in found if not path.is_file()), None)
            if absent or not found:
                raise ValueError(f"{absent} is not there" if absent else "no rows")
        except (KeyError, TypeError, ValueError, OSError, csv.Error) as error:
            raise ConfigurationError(
                f"--labels {self.labels}: expected a CSV with the columns file (in --images) and class_index: "
                f"{type(error).__name__}: {error}"
            ) from error
        return found

    def to_json(self) -> str:
        """For another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Options":
        """What `to_json` has written."""
        values: dict[str, Any] = json.loads(text)
        for name in ("peers", "batches"):
            values[name] = tuple(values[name])
        return cls(**values)
