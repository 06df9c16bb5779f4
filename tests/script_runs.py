"""Runs scripts that know nothing of spark-accel, each run in a process of its own, and asks who did their fits.

What a user would write into `spark-defaults.conf` or on the command line of `spark-submit` is all the configuration.
"""

import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyspark
import pytest
from pyspark.find_spark_home import _find_spark_home
from spark_sessions import Node, running_node
from test_plugin import QUIET

from spark_accel import jar
from spark_accel.session import PLUGIN

HERE = Path(__file__).parent
STOCK_SCRIPT = HERE / "stock_script.py"
SPARK_HOME = Path(_find_spark_home())
Counts = dict[str, int]

# How many fits each step of the stock script makes. Folds, points of the grid and classes count.
FITS: dict[str, Counts] = {
    "fit": {"KMeans": 1, "LogisticRegression": 1, "NaiveBayes": 1},
    "fit_with_parameters": {"KMeans": 4},
    "fit_pipeline": {"KMeans": 1, "LogisticRegression": 1},
    "fit_cross_validator": {"LogisticRegression": 2 * (2 * 2 + 1)},
    "fit_split": {"KMeans": 3},
    "fit_one_vs_rest": {"LogisticRegression": 3},
    "save": {},
    "load_kmeans": {"KMeans": 1},
    "load_logistic": {"LogisticRegression": 1},
    "load_bayes": {"NaiveBayes": 1},
    "load_pipeline": {"KMeans": 1, "LogisticRegression": 1},
    "load_cross_validator": {"LogisticRegression": 2 * 2 + 1},
    "load_split": {"KMeans": 3},
    "load_one_vs_rest": {"LogisticRegression": 3},
    "load_models": {},
}
FEW = ["fit", "fit_pipeline", "save", "load_kmeans", "load_bayes", "load_pipeline", "load_models"]
SAVING = ["fit", "save"]
LOADING = [step for step in FITS if step.startswith("load")]


def accelerated(*steps: str) -> dict[str, Counts]:
    """What the counters say if the device did all fits of these steps."""
    return {step: {f"accelerated.{name}": count for name, count in FITS[step].items()} for step in steps}


def ours(steps: dict[str, Counts]) -> dict[str, Counts]:
    """How many fits went to our estimators, on the device or not, by step and estimator."""
    found: dict[str, Counts] = {}
    for step, counts in steps.items():
        found[step] = {}
        for name, count in counts.items():
            estimator = name.split(".")[1]
            found[step][estimator] = found[step].get(estimator, 0) + count
    return found


@dataclass(frozen=True)
class Place:
    """Where scripts run: a node of their own, and a folder for what they save."""

    folder: Path
    node: Node

    @property
    def conf(self) -> dict[str, str]:
        """Quiet, quick and with the node's settings; without jar and plugin."""
        return QUIET | self.node.conf | {"spark.sql.shuffle.partitions": "2", "spark.ui.enabled": "false"}

    def run(
        self,
        script: Path,
        conf: dict[str, str],
        phases: list[dict[str, Any]],
        command: tuple[str, ...] = (sys.executable,),
        **environment: str,
    ) -> dict[str, Any]:
        """What `counted_script.py` found out; `conf` is in `spark-defaults.conf`."""
        conf_dir = Path(tempfile.mkdtemp(dir=self.folder, prefix="conf-"))
        lines = [f"{key} {text}\n" for key, text in (self.conf | conf).items()]
        (conf_dir / "spark-defaults.conf").write_text("".join(lines))
        own = {"SPARK_CONF_DIR": str(conf_dir), "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
        done = subprocess.run(
            [*command, str(HERE / "counted_script.py"), str(script), str(self.folder / "saved"), json.dumps(phases)],
            env=os.environ | own | environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=580,
            umask=0o002,  # as many systems have it for who logs in
        )
        assert done.returncode == 0, done.stderr + done.stdout
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found | {"log": done.stderr}


def plugin() -> dict[str, str]:
    """All that a user sets."""
    return {"spark.jars": str(jar.path()), "spark.plugins": PLUGIN}


def python_without_package(folder: Path) -> str:
    """A Python that has PySpark and what it needs, and not spark-accel: the one of a new virtual environment that looks
    into this one's packages, where an editable installation is a `.pth` file, which counts only at home.
    """
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "pyspark.pth").write_text(f"{Path(pyspark.__file__).parents[1]}\n")
    return str(folder / "bin" / "python")


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with running_node(device="reference") as node:
        yield Place(node.folder, node)
