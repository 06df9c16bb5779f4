"""How long KMeans, LogisticRegression and NaiveBayes take: ours, stock MLlib's, scikit-learn's, turn by turn.

A figure is the time of a `fit` from a cached DataFrame of vectors to the model, ours and stock in one Spark session,
after a fit of each that is not counted, save where stock's takes minutes; scikit-learn fits a float32 array that it has
in memory. Growth is ours alone, with once, twice and four times the rows.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from pyspark.ml.classification import LogisticRegression, NaiveBayes
from pyspark.ml.clustering import KMeans
from pyspark.sql import SparkSession
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from spark_accel import settings
from spark_accel.bench import estimator_kernels, failure, peers, progress, training_sets
from spark_accel.bench.interruption import UntilInterrupted
from spark_accel.bench.options import Options
from spark_accel.bench.spark_session import session
from spark_accel.daemon import devices
from spark_accel.errors import ConfigurationError
from spark_accel.ml import classification, clustering

OURS: dict[type, Any] = {
    KMeans: clustering.KMeans,
    LogisticRegression: classification.LogisticRegression,
    NaiveBayes: classification.NaiveBayes,
}
_NAMES = {"kmeans": KMeans, "logistic": LogisticRegression, "naive-bayes": NaiveBayes}
_GROWTH = (1, 2, 4)
_TASKS = {"packing": "packing", "asking": "requests", "reduction": "reduction"}


@dataclass(frozen=True)
class Work:
    """One row of the table: `target` is how many times faster than stock it is meant to be. Stock's turns are
    `stock_rounds` at most, where each takes minutes."""

    title: str
    data: Callable[[Path, float], Path]
    estimator: type
    params: dict[str, Any]
    target: float
    peer: Callable[[Path], Callable[[], object]] | None = None
    stock_rounds: int = 100
    grows: bool = False


WORKS = (
    Work("KMeans, k=100, 10 iterations", training_sets.blobs, KMeans,
         {"k": 100, "maxIter": 10, "tol": 0.0, "seed": 1}, 25,
         lambda path: training_sets.scikit_kmeans(path, 100, 10), grows=True),
    Work("KMeans, k=8, 20 iterations", training_sets.blobs, KMeans, {"k": 8, "maxIter": 20, "tol": 0.0, "seed": 1}, 10,
         lambda path: training_sets.scikit_kmeans(path, 8, 20)),
    Work("LogisticRegression, binomial", training_sets.blobs, LogisticRegression, {"regParam": 1e-4}, 5,
         training_sets.scikit_logistic, grows=True),
    Work("LogisticRegression, 26 classes, 100 iterations", training_sets.letters, LogisticRegression,
         {"maxIter": 100, "tol": 0.0}, 15, stock_rounds=1),
    Work("NaiveBayes, gaussian", training_sets.blobs, NaiveBayes, {"modelType": "gaussian"}, 3,
         training_sets.scikit_gaussian, grows=True),
    Work("NaiveBayes, multinomial, sparse (1 %)", training_sets.documents, NaiveBayes, {"modelType": "multinomial"}, 2),
)  # fmt: skip


def measure(name: str, options: Options) -> dict[str, Any]:
    """Everything measured of one estimator, `kmeans`, `logistic` or `naive-bayes`, with every turn."""
    works = [work for work in WORKS if work.estimator is _NAMES[name]]
    scikit = peers.peer("scikit-learn")
    missing = scikit.missing() if scikit.name in options.peers else ""
    skipped = [{"title": scikit.title, "reason": missing}] if missing else []
    asked = tuple(one for one in options.peers if not (missing and one == scikit.name))
    device = _device(options)
    precision = settings.from_environment(options.settings).ml_precision
    fits: list[_Fits] = []
    growth: list[dict[str, Any]] = []
    blas, kernels = "", None
    rounds = UntilInterrupted()
    with rounds, tempfile.TemporaryDirectory(prefix="spark-accel-bench-") as folder:
        path = Path(folder)
        conf = {"spark.driver.memory": "10g", **_accel_conf(options)}
        with session(path, options.threads, True, conf) as spark:
            blas = _blas(spark) if "mllib" in asked else ""
            for work in works:
                fits.append(_Fits(spark, work, path, options, asked))
                fits[-1].measure()
            for work in works:
                if work.grows:
                    growth.extend(_growth(spark, work, path, options))
    if not rounds.interrupted:
        with rounds:
            kernels = estimator_kernels.measure(name, options.scale, device, precision)
    measured = [one.facts() for one in fits if one.turns["ours"]]
    return {
        **rounds.mark(measured),
        "threads": options.threads,
        "precision": precision,
        "blas": blas,
        "fits": measured,
        "growth": growth,
        "kernels": kernels,
        "skipped": skipped
        + [{"title": f"scikit-learn's {one['title']}", "reason": one["failed"]} for one in measured if one["failed"]],
    }


def _device(options: Options) -> str:
    chosen = settings.from_environment(options.settings)
    found = devices.select(devices.discover_in_subprocess(), chosen.device, "error")[0]
    if found == devices.REFERENCE:
        raise ConfigurationError("the numpy reference has no limit to measure: choose an OpenCL device with --device")
    return found.id


def _accel_conf(options: Options) -> dict[str, str]:
    given = settings.from_environment(options.settings).given
    own = {"enabled", "daemon.start", "daemon.socket", "daemon.idleTimeout", "fallback"}
    return {settings.SPARK_PREFIX + key: text for key, text in given.items() if key not in own}


def _blas(spark: SparkSession) -> str:
    """The class that stock MLlib multiplies with: netlib's, which loads a native library where one is installed."""
    jvm: Any = spark._jvm
    return str(jvm.dev.ludovic.netlib.blas.BLAS.getInstance().getClass().getName())


class _Fits:
    """The turns of one work."""

    def __init__(self, spark: SparkSession, work: Work, folder: Path, options: Options, asked: tuple[str, ...]) -> None:
        self._spark, self._work, self._options, self._asked = spark, work, options, asked
        self._jvm: Any = spark._jvm
        self._path = work.data(folder, options.scale)
        self._daemon = _Daemon(spark.conf.get("spark.accel.daemon.socket") or "")
        self._rows, self._features, self._failed = 0, 0, ""
        self._where: list[dict[str, float]] = []
        self.turns: dict[str, list[float]] = {"ours": [], "mllib": [], "scikit-learn": []}

    def facts(self) -> dict[str, Any]:
        """Seconds of each contender's turns, and where ours went."""
        return {
            "title": self._work.title, "rows": self._rows, "features": self._features, "target": self._work.target,
            "turns": self.turns, "where": self._where, "failed": self._failed,
        }  # fmt: skip

    def measure(self) -> None:
        """Takes the turns."""
        work = self._work
        data = training_sets.read(self._spark, self._path).cache()
        self._rows, self._features = data.count(), len(data.head(1)[0].features)
        ours = partial(OURS[work.estimator](**work.params).fit, data)
        stock = partial(work.estimator(**work.params).fit, data)
        scikit = _Scikit(partial(work.peer, self._path)) if work.peer and "scikit-learn" in self._asked else None
        self._seconds_of(ours)
        if scikit is not None:
            self._seconds_of(scikit.fit)
        for number in range(self._options.rounds):
            size = f"{self._rows:,} x {self._features}"
            progress.say(f"{work.title}, {size}, round {number + 1} of {self._options.rounds}")
            before = self._counts()
            seconds = self._seconds_of(ours)
            spent = {key: value - before.get(key, 0.0) for key, value in self._counts().items()}
            self._where.append(_parts(seconds, spent, self._options.threads))
            self.turns["ours"].append(seconds)
            if "mllib" in self._asked and number < work.stock_rounds:
                if number == 0 and work.stock_rounds > 1:
                    self._seconds_of(stock)
                self.turns["mllib"].append(self._seconds_of(stock))
            if scikit is not None:
                seconds = self._seconds_of(scikit.fit)
                self._failed = scikit.failed
                if not scikit.failed:
                    self.turns["scikit-learn"].append(seconds)
        data.unpersist(blocking=True)

    def _seconds_of(self, fit: Callable[[], object]) -> float:
        self._jvm.System.gc()  # what the one has left is not to be collected while the other runs
        return _timed(fit)

    def _counts(self) -> dict[str, float]:
        """What the estimator's tasks and the daemon have spent so far."""
        nanos = dict(self._jvm.org.apache.spark.ml.accel.FitCounters.snapshot())
        name = self._work.estimator.__name__
        tasks = {part: nanos.get(f"nanos.{name}.{key}", 0) / 1e9 for part, key in _TASKS.items()}
        return tasks | self._daemon.seconds()


class _Scikit:
    """scikit-learn, whose failure is a line in the results and not the end of the bench. `make` reads its data."""

    def __init__(self, make: Callable[[], Callable[[], object]]) -> None:
        self.failed = ""
        self._fit = self._tried(make) or (lambda: None)

    def fit(self) -> None:
        """Nothing once it has failed."""
        if not self.failed:
            self._tried(self._fit)

    def _tried(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever scikit-learn gives
        try:
            return work()
        except Exception as error:  # whatever it raises
            self.failed = failure.line(error)
            progress.say(f"scikit-learn: {self.failed}")
            return None


def _growth(spark: SparkSession, work: Work, folder: Path, options: Options) -> Iterator[dict[str, Any]]:
    for times in _GROWTH:
        data = training_sets.read(spark, work.data(folder, options.scale * times)).cache()
        rows = data.count()
        progress.say(f"{work.title}, {rows:,} rows")
        fit = partial(OURS[work.estimator](**work.params).fit, data)
        _timed(fit)
        yield {"title": work.title, "rows": rows, "turns": [_timed(fit) for _ in range(options.rounds)]}
        data.unpersist(blocking=True)


def _timed(fit: Callable[[], object]) -> float:
    start = time.perf_counter()
    fit()
    return time.perf_counter() - start


def _parts(wall: float, spent: dict[str, float], threads: int) -> dict[str, float]:
    """Where a fit's time went: packing by all tasks at once; waiting for the daemon, without its reading of inputs and
    its kernels, which come next; reduction of the partial sums; driver is the rest, with Spark's jobs."""
    packing, reduction = spent["packing"] / threads, spent["reduction"]
    return {
        "packing": packing,
        "waiting": spent["asking"] - spent["input"] - spent["kernel"],
        "input": spent["input"],
        "kernel": spent["kernel"],
        "reduction": reduction,
        "driver": wall - packing - spent["asking"] - reduction,
        "requests": spent["requests"],
    }


class _Daemon:
    """What the node daemon says of its models."""

    def __init__(self, socket: str) -> None:
        self._channel = grpc.insecure_channel(f"unix:{socket}")

    def seconds(self) -> dict[str, float]:
        """Time in which inputs were read and kernels ran, over all models, and how many requests there were."""
        stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        answer = stub.ModelStatistics(pb.ModelStatisticsRequest(), timeout=5)
        batches = [batch for model in answer.model_stats for batch in model.batch_stats]
        return {
            "input": sum(one.compute_input.ns for one in batches) / 1e9,
            "kernel": sum(one.compute_infer.ns for one in batches) / 1e9,
            "requests": float(sum(model.inference_stats.success.count for model in answer.model_stats)),
        }
