"""How long KMeans, LogisticRegression and NaiveBayes take: on the device, by stock MLlib, and by scikit-learn.

    .venv/bin/python benchmarks/estimators.py [--work NAME …] [--growth] [--json FILE]

Each figure is the second of two `fit`s from a cached DataFrame of vectors to the model, device and stock in turn in one
Spark session, local[2]; scikit-learn fits the same float32 array. `--growth` fits once, twice and four times the rows.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import training_sets
from pyspark.ml.classification import LogisticRegression, NaiveBayes
from pyspark.ml.clustering import KMeans
from pyspark.sql import SparkSession
from rich.console import Console
from rich.table import Table
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from spark_accel import jar
from spark_accel.ml import classification, clustering

CORES = 2
OURS = {
    KMeans: clustering.KMeans,
    LogisticRegression: classification.LogisticRegression,
    NaiveBayes: classification.NaiveBayes,
}


@dataclass(frozen=True)
class Work:
    """One row of the table: `target` is how many times faster than stock it is meant to be."""

    name: str
    data: Callable[[Path, int], Path]
    estimator: type
    params: dict[str, Any]
    target: float
    peer: Callable[[Path], Callable[[], object]] | None = None


@dataclass(frozen=True)
class Result:
    """Seconds of a fit, and `where` they went: packing by two tasks at once; waiting for the daemon but for its reading
    of inputs and its kernels, which come next; reduction of the partial sums; driver is the rest, with Spark's jobs."""

    work: str
    rows: int
    device: float
    stock: float | None
    scikit_learn: float | None
    target: float
    where: dict[str, float]


WORKS = [
    Work("kmeans-100", training_sets.blobs, KMeans, {"k": 100, "maxIter": 10, "tol": 0.0, "seed": 1}, 25,
         lambda folder: training_sets.scikit_kmeans(folder, 100, 10)),
    Work("kmeans-8", training_sets.blobs, KMeans, {"k": 8, "maxIter": 20, "tol": 0.0, "seed": 1}, 10,
         lambda folder: training_sets.scikit_kmeans(folder, 8, 20)),
    Work("logistic", training_sets.blobs, LogisticRegression, {"regParam": 1e-4}, 5, training_sets.scikit_logistic),
    Work("multinomial", training_sets.letters, LogisticRegression, {"maxIter": 100, "tol": 0.0}, 15),
    Work("naive-bayes-gaussian", training_sets.blobs, NaiveBayes, {"modelType": "gaussian"}, 3,
         training_sets.scikit_gaussian),
    Work("naive-bayes-multinomial", training_sets.documents, NaiveBayes, {"modelType": "multinomial"}, 2),
]  # fmt: skip


class Daemon:
    """What the node daemon says of its models."""

    def __init__(self, socket: str) -> None:
        self._channel = grpc.insecure_channel(f"unix:{socket}")

    def seconds(self) -> dict[str, float]:
        """Time in which inputs were read and kernels ran, over all models, and how many requests there were."""
        try:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
            answer = stub.ModelStatistics(pb.ModelStatisticsRequest(), timeout=5)
        except grpc.RpcError:  # not started yet
            return {}
        batches = [batch for model in answer.model_stats for batch in model.batch_stats]
        return {
            "input": sum(one.compute_input.ns for one in batches) / 1e9,
            "kernel": sum(one.compute_infer.ns for one in batches) / 1e9,
            "requests": float(sum(model.inference_stats.success.count for model in answer.model_stats)),
        }


def main() -> None:
    """See the file's head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [work.name for work in WORKS]
    parser.add_argument("--work", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--growth", action="store_true", help="the device alone, with 1, 2 and 4 times the rows")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    arguments = parser.parse_args()
    os.environ["PYSPARK_PYTHON"] = sys.executable
    works = [work for work in WORKS if work.name in arguments.work]
    with tempfile.TemporaryDirectory(prefix="accel-") as name:
        folder = Path(name)
        spark = _session(folder / "daemon.sock")
        try:
            results = [
                result
                for work in works
                for scale in ((1, 2, 4) if arguments.growth else (1,))
                for result in [_measure(spark, work, folder, scale, peers=not arguments.growth)]
            ]
        finally:
            spark.stop()
    _print(results)
    if arguments.json:
        facts = {"commit": _commit(), "cores": CORES, "results": [asdict(result) for result in results]}
        arguments.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


_TASKS = {"packing": "packing", "asking": "requests", "reduction": "reduction"}
_PARTS = ("packing", "waiting", "input", "kernel", "reduction", "driver")
_COLUMNS = ("work", "rows", "device", "stock", "x", "wanted", "scikit-learn", *_PARTS, "requests")


def _session(socket: Path) -> SparkSession:
    conf = {
        "spark.jars": str(jar.path()),
        "spark.ui.enabled": "false",
        "spark.driver.memory": "10g",
        "spark.log.level": "ERROR",
        "spark.ui.showConsoleProgress": "false",
        "spark.accel.daemon.socket": str(socket),
        "spark.accel.daemon.idleTimeout": "5s",
        "spark.accel.fallback": "error",
    }
    return SparkSession.builder.master(f"local[{CORES}]").config(map=conf).getOrCreate()


def _measure(spark: SparkSession, work: Work, folder: Path, scale: int, peers: bool) -> Result:
    print(f"{work.name}, {scale} x the rows", file=sys.stderr)
    path = work.data(folder, scale)
    data = training_sets.read(spark, path).cache()
    rows = data.count()
    ours = partial(OURS[work.estimator](**work.params).fit, data)
    stocks = partial(work.estimator(**work.params).fit, data)
    counts = partial(_counts, spark, work, Daemon(spark.conf.get("spark.accel.daemon.socket")))
    for _ in range(2):
        spark._jvm.System.gc()  # what the one has left is not to be collected while the other runs
        before = counts()
        device = _seconds_of(ours)
        after = counts()
        spark._jvm.System.gc()
        stock = _seconds_of(stocks) if peers else None
    data.unpersist(blocking=True)
    scikit = None
    if peers and work.peer is not None:
        fit = work.peer(path)
        _, scikit = _seconds_of(fit), _seconds_of(fit)
    where = _parts(device, {key: value - before.get(key, 0.0) for key, value in after.items()})
    return Result(work.name, rows, device, stock, scikit, work.target, where)


def _counts(spark: SparkSession, work: Work, daemon: Daemon) -> dict[str, float]:
    """What the estimator's tasks and the daemon have spent so far."""
    counters = spark._jvm.org.apache.spark.ml.accel.FitCounters
    nanos = dict(counters.snapshot())
    tasks = {part: nanos.get(f"nanos.{work.estimator.__name__}.{key}", 0) / 1e9 for part, key in _TASKS.items()}
    return tasks | daemon.seconds()


def _parts(wall: float, spent: dict[str, float]) -> dict[str, float]:
    packing, reduction = spent["packing"] / CORES, spent["reduction"]
    return {
        "packing": packing,
        "waiting": spent["asking"] - spent["input"] - spent["kernel"],
        "input": spent["input"],
        "kernel": spent["kernel"],
        "reduction": reduction,
        "driver": wall - packing - spent["asking"] - reduction,
        "requests": spent["requests"],
    }


def _seconds_of(fit: Callable[[], object]) -> float:
    start = time.perf_counter()
    fit()
    return time.perf_counter() - start


def _print(results: list[Result]) -> None:
    table = Table(title="seconds for a fit, and where the device's went")
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column == "work" else "right")
    for one in results:
        ratio = "" if one.stock is None else f"{one.stock / one.device:.1f}"
        where = [one.where[key] for key in _PARTS]
        figures = [f"{one.device:.2f}", _seconds(one.stock), ratio, f"{one.target:g}", _seconds(one.scikit_learn)]
        requests = f"{one.where['requests']:.0f}"
        table.add_row(one.work, f"{one.rows:,}", *figures, *(f"{value:.2f}" for value in where), requests)
    Console(width=200).print(table)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    return done.stdout.strip()


if __name__ == "__main__":
    main()
