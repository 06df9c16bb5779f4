"""Spark applications with the plugin, which its tests run in processes of their own: one JVM takes one set of jars.

`python plugin_applications.py NAME CONFIGURATION`, with the configuration as JSON; also through `spark-submit`. The
last line of the output is what the application found out, as JSON.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import urllib.request
from typing import Any

import numpy as np
import pandas as pd
import psutil
from conftest import eventually
from pyspark import TaskContext
from pyspark.ml.classification import LogisticRegression, NaiveBayes
from pyspark.ml.clustering import KMeans
from pyspark.ml.linalg import Vectors
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql.functions import col, monotonically_increasing_id, pandas_udf
from pyspark.sql.types import LongType, StringType
from spark_sessions import PHOTOGRAPHS, setting

import spark_accel
from spark_accel import daemon_status, settings
from spark_accel.errors import DaemonError
from spark_accel.functions import kernel, predict

Conf = dict[str, str]
METRIC = ".driver.plugin.org.sparkaccel.AccelPlugin."


def session(conf: Conf) -> SparkSession:
    return spark_accel.configure(SparkSession.builder.config(map=conf)).getOrCreate()


def photographs(spark: SparkSession, times: int = 1) -> DataFrame:
    frame = spark.read.format("binaryFile").load(f"{PHOTOGRAPHS}/*.jpg").select("content")
    return frame.crossJoin(spark.range(times)).repartition(8)


def classify(frame: DataFrame) -> int:
    """How many of the rows get a class."""
    rows = frame.select(predict("content", "small", top=1).alias("p")).collect()
    return sum(bool(row.p) for row in rows)


def leases(conf: Conf) -> list[str]:
    """Who holds a lease on the daemon, if one runs."""
    try:
        found = daemon_status.collect(settings.from_spark({key: conf[key] for key in conf if "accel" in key}, {}))
    except DaemonError:
        return []
    return [lease["client"] for lease in found["leases"]]


def executors(conf: Conf) -> list[str]:
    return sorted(client for client in leases(conf) if client.startswith("executor "))


def get(spark: SparkSession, path: str) -> Any:  # noqa: ANN401 - any JSON
    with urllib.request.urlopen(f"{spark.sparkContext.uiWebUrl}{path}") as answer:  # noqa: S310 - Spark's own UI
        return json.load(answer)


def metrics(spark: SparkSession) -> dict[str, float]:
    gauges = get(spark, "/metrics/json/")["gauges"]
    return {name.split(METRIC)[1]: gauges[name]["value"] for name in gauges if METRIC in name}


def boards(conf: Conf) -> dict[str, Any]:
    """On which boards Spark puts its tasks, how many rows each task has, and what each board has been given to do."""
    spark = session(conf)
    frame = spark.read.format("binaryFile").load(f"{PHOTOGRAPHS}/*.jpg").select("content").repartition(4)
    rows = frame.select(predict("content", "small", top=1).alias("p"), board().alias("board")).collect()
    found = daemon_status.collect(settings.from_spark({key: conf[key] for key in conf if "accel" in key}, {}))
    application = spark.sparkContext.applicationId
    spark.stop()
    return {
        "application": application,
        "classified": sum(bool(row.p) for row in rows),
        "tasks": sorted({row.board for row in rows}),
        "executions": {device["id"]: device["executions"] for device in found["devices"]},
    }


def board() -> Column:
    """The task's number, and the board that Spark gave it: `3 fpga-0`."""

    def told(ids: pd.Series) -> pd.Series:
        task = TaskContext.get()
        assert task is not None
        (address,) = task.resources()["fpga"].addresses
        return pd.Series(f"{task.partitionId()} {address}", index=ids.index)

    return pandas_udf(told, StringType())(monotonically_increasing_id())


def programs(conf: Conf) -> dict[str, Any]:
    """Two executors, each with a task, that call different kernels of one board at the same time; then fits on it."""
    spark = session(conf | {"spark.sql.execution.arrow.maxRecordsPerBatch": "50"})
    eventually(lambda: len(executors(conf)) == 2, 60, "two executors hold leases")
    rows = spark.range(0, 2000, 1, 1).select(col("id").cast("float").alias("x"))
    twice = rows.select("x", kernel("twice", "x").alias("y"), process().alias("executor"))
    added = rows.select("x", kernel("vector_add", "x", "x").alias("y"), process().alias("executor"))
    answers = twice.union(added).collect()
    status = settings.from_spark({key: conf[key] for key in conf if "accel" in key}, {})
    facts: dict[str, Any] = {"application": spark.sparkContext.applicationId, "wrong": 0}
    facts["wrong"] = sum(row.y != 2 * row.x for row in answers)
    facts["executors"] = len({row.executor for row in answers})
    facts["board"], *_ = daemon_status.collect(status)["devices"]
    facts["fits"] = fits(spark)
    facts["programs"] = daemon_status.collect(status)["devices"][0]["reprogrammings"] - facts["board"]["reprogrammings"]
    spark.stop()
    return facts


def process() -> Column:
    """The process whose child the Python worker is: one for each executor."""
    return pandas_udf(lambda ids: pd.Series(os.getppid(), index=ids.index), LongType())(monotonically_increasing_id())


def fits(spark: SparkSession) -> dict[str, dict[str, Any]]:
    """By estimator, how far the device's model is from stock Spark's, and how many fits the device has done."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 600)
    points = rng.normal(size=(600, 5)) + 4 * labels[:, None]
    rows = [(Vectors.dense(point), float(label)) for point, label in zip(points, labels, strict=True)]
    data = spark.createDataFrame(rows, ["features", "label"]).repartition(2).cache()
    found: dict[str, dict[str, Any]] = {}
    for name, make, learnt in (
        ("KMeans", lambda: KMeans(k=3, seed=1), lambda model: np.array(sorted(map(tuple, model.clusterCenters())))),
        (
            "LogisticRegression",
            lambda: LogisticRegression(regParam=0.1),
            lambda model: model.coefficientMatrix.toArray(),
        ),
        ("NaiveBayes", lambda: NaiveBayes(modelType="gaussian"), lambda model: model.theta.toArray()),
    ):
        with setting(spark, {"spark.accel.fallback": "error"}):
            ours = learnt(make().fit(data))
        with setting(spark, {"spark.accel.enabled": "false"}):
            stock = learnt(make().fit(data))
        counts = spark._jvm.org.apache.spark.ml.accel.FitCounters.snapshot()
        found[name] = {"difference": float(abs(ours - stock).max()), "on the device": counts.get(f"accelerated.{name}")}
    return found


def two_sessions(conf: Conf) -> list[dict[str, Any]]:
    """A session, stopped, and another one in the same process."""
    found = []
    for _ in range(2):
        spark = session(conf)
        eventually(lambda: executors(conf), 60, "the executor holds a lease")
        facts: dict[str, Any] = {"executors": executors(conf), "classified": classify(photographs(spark))}
        eventually(lambda: metrics(spark)["images"] >= facts["classified"], what="the metrics follow")  # noqa: B023
        facts["metrics"] = metrics(spark)
        spark.stop()
        eventually(lambda: not leases(conf), what="all leases are given back")
        found.append(facts)
    return found


def no_daemon(conf: Conf) -> dict[str, Any]:
    """Sessions that are switched off, with an unknown setting, with a Python that can't run the daemon, with a device
    that is not there, which numpy stands in for, and with another one where that daemon serves already."""
    spark = session(conf | {"spark.accel.enabled": "false"})
    facts: dict[str, Any] = {"off": {"metrics": metrics(spark), "leases": leases(conf)}}
    spark.stop()
    try:
        session(conf | {"spark.accel.enabled": "true", "spark.accel.daemon.idletime": "5s"})
    except Exception as error:
        facts["unknown setting"] = str(error)
    spark = session(conf | {"spark.accel.enabled": "true", "spark.accel.daemon.python": os.environ["BAD_PYTHON"]})
    facts["counted"] = spark.range(100).repartition(4).count()
    try:
        classify(photographs(spark))
    except Exception as error:
        facts["error of predict"] = str(error)
    spark.stop()
    # A busy machine may take longer than the others' idle time to attach to the daemon that it has started.
    own = conf | {"spark.accel.enabled": "true", "spark.accel.daemon.python": sys.executable}
    own["spark.accel.daemon.idleTimeout"] = "60s"
    for device in ("nobody:nothing", "reference"):
        spark = session(own | {"spark.accel.device": device})
        facts[f"classified with {device}"] = classify(photographs(spark))
        spark.stop()
    return facts


def cluster(conf: Conf) -> dict[str, Any]:
    """Under `spark-submit`: two executors; then one is killed in the middle of a job."""
    spark = SparkSession.builder.getOrCreate()
    application = spark.sparkContext.applicationId
    eventually(lambda: len(executors(conf)) == 2, 90, "both executors hold a lease")
    facts: dict[str, Any] = {"application": application, "executors": executors(conf)}
    facts["classified"] = classify(photographs(spark, 8))
    tasks = {one["id"]: one["completedTasks"] for one in get(spark, f"/api/v1/applications/{application}/executors")}
    facts["executors with tasks"] = sorted(name for name, done in tasks.items() if done)
    facts["daemons"] = _daemons(conf["spark.accel.daemon.socket"])
    eventually(lambda: metrics(spark)["images"] >= facts["classified"], what="the metrics follow")
    facts["metrics"] = metrics(spark)

    answers: list[int] = []
    job = threading.Thread(target=lambda: answers.append(classify(photographs(spark, 32))))
    job.start()
    eventually(lambda: _half_done(spark), 60, "the job is under way")
    executor(application, "0").send_signal(signal.SIGKILL)
    eventually(lambda: f"executor 0 of {application}" not in leases(conf), what="the killed executor's lease ends")
    job.join(120)
    facts["classified in spite of it"] = answers
    eventually(lambda: len(executors(conf)) == 2, 60, "the next executor holds a lease")
    facts["executors afterwards"] = executors(conf)
    spark.stop()
    return facts


def _half_done(spark: SparkSession) -> bool:
    """Whether a stage has tasks that are done and tasks that run."""
    tracker = spark.sparkContext.statusTracker()
    stages = map(tracker.getStageInfo, tracker.getActiveStageIds())
    return any(stage and stage.numCompletedTasks and stage.numActiveTasks for stage in stages)


def executor(application: str, number: str) -> psutil.Process:
    """The process of an executor."""
    what = (f"--executor-id {number} ", f"--app-id {application} ")
    found = [one for one in psutil.process_iter() if all(part in _line(one) for part in what)]
    assert len(found) == 1, f"processes of executor {number}: {found}"
    return found[0]


def _daemons(socket: str) -> int:
    """How many node daemons run for a socket."""
    count = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if _line(process).endswith("-m spark_accel daemon"):
                count += process.environ().get("SPARK_ACCEL_DAEMON_SOCKET") == socket
    return count


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](json.loads(sys.argv[2]))))
