"""Fits whose daemon dies, whose job is cancelled, whose device fails or memory is full; they leave nothing behind."""

import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
import training_data
from conftest import eventually
from daemons import MEMORY
from nodes import end_daemon
from py4j.protocol import Py4JJavaError
from pyspark import InheritableThread
from pyspark.errors import PySparkException
from pyspark.ml.classification import NaiveBayes
from pyspark.ml.clustering import KMeans, KMeansModel
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from spark_sessions import Node, setting
from stock_and_ours import on_device, ours
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from spark_accel import launch
from spark_accel.settings import from_spark

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def data(spark: SparkSession) -> DataFrame:
    frame = training_data.frame(spark, training_data.table("covtype").rows())
    frame.count()
    return frame


def estimator(**params: Any) -> KMeans:  # noqa: ANN401 - values of parameters
    return ours(KMeans(k=7, seed=1, tol=0.0, initMode="random", **params))


def centres(model: KMeansModel) -> bytes:
    return np.array(model.clusterCenters()).tobytes()


def counters(spark: SparkSession) -> dict[str, int]:
    return dict(spark._jvm.org.apache.spark.ml.accel.FitCounters.snapshot())


def region_files(socket: Path) -> set[str]:
    """Names of files in shared memory that belong to clients of the daemon at a socket."""
    prefix = f"spark-accel-{hashlib.sha256(os.fsencode(socket)).hexdigest()[:8]}-"
    return {entry.name for entry in os.scandir(MEMORY) if entry.name.startswith(prefix)}


def mapped(worker: psutil.Process) -> list[str]:
    """The lines of a worker's memory map that are of regions, deleted or not."""
    return [line for line in Path(f"/proc/{worker.pid}/maps").read_text().splitlines() if "spark-accel-" in line]


def registered(socket: Path) -> list[str]:
    """The regions that the daemon at a socket has."""
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        return list(stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest(), timeout=30).regions)


def open_regions(spark: SparkSession) -> int:
    return int(spark._jvm.org.sparkaccel.Region.open())


def requests(socket: Path, model: str = "kmeans_lloyd_fp64") -> int:
    """How many requests of a model the daemon at a socket has answered."""
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        try:
            message = pb.ModelStatisticsRequest(name=model)
            answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStatistics(message, timeout=5)
        except grpc.RpcError:  # not loaded yet, or no daemon
            return 0
        return int(answer.model_stats[0].inference_stats.success.count)


class Fit:
    """A fit under way in a thread of its own, in a job group of its own."""

    def __init__(self, spark: SparkSession, data: DataFrame) -> None:
        self._spark = spark
        self._data = data
        self.model: KMeansModel | None = None
        self.error: Exception | None = None
        self._thread = InheritableThread(target=self._run, session=spark)

    def start(self) -> "Fit":
        self._thread.start()
        return self

    def iterate(self, socket: Path) -> "Fit":
        """Starts it and returns when it iterates."""
        before = requests(socket)
        self.start()
        eventually(lambda: requests(socket) > before + 8, 120, "the fit iterates")
        return self

    def join(self) -> "Fit":
        self._thread.join(180)
        assert not self._thread.is_alive()
        return self

    def result(self) -> KMeansModel:
        """The model that it ends with; raises the error instead if there is one."""
        self.join()
        if self.error is not None:
            raise self.error
        assert self.model is not None
        return self.model

    def cancelled(self) -> bool:
        """Cancels the job that runs now, if one does; whether the fit has ended."""
        self._spark.sparkContext.cancelJobGroup("faults")
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._spark.sparkContext.setJobGroup("faults", "a fit that is disturbed")
        try:
            self.model = estimator(maxIter=150).fit(self._data)
        except Exception as error:  # whatever it is, the test looks at it
            self.error = error


@pytest.fixture(scope="module")
def undisturbed(spark: SparkSession, data: DataFrame) -> bytes:
    with on_device(spark):
        return centres(estimator(maxIter=150).fit(data))


def test_a_killed_daemon_changes_nothing(spark: SparkSession, node: Node, data: DataFrame, undisturbed: bytes) -> None:
    with on_device(spark):
        fit = Fit(spark, data).iterate(node.settings.daemon_socket)

        node.daemon().kill()

        assert centres(fit.result()) == undisturbed


def test_a_killed_worker_changes_nothing(spark: SparkSession, node: Node, data: DataFrame, undisturbed: bytes) -> None:
    with on_device(spark):
        fit = Fit(spark, data).iterate(node.settings.daemon_socket)

        node.worker().kill()

        assert centres(fit.result()) == undisturbed


def test_a_cancelled_job_ends_the_fit_and_leaves_no_region(spark: SparkSession, node: Node, data: DataFrame) -> None:
    with on_device(spark):
        estimator(maxIter=1).fit(data)  # starts what is not there
        eventually(lambda: open_regions(spark) == 0, what="its regions are given back")
        worker = node.worker()
        worker.suspend()  # the fit would be done before anyone could cancel it
        try:
            fit = Fit(spark, data).start()
            eventually(lambda: open_regions(spark), 120, "its rows are in shared memory")
            eventually(fit.cancelled, 60, "the fit ends")
        finally:
            worker.resume()

        assert "cancelled" in str(fit.join().error)
    eventually(lambda: open_regions(spark) == 0, what="the regions are given back")
    eventually(lambda: not region_files(node.settings.daemon_socket), what="the files of the regions are deleted")
    eventually(lambda: not registered(node.settings.daemon_socket), what="the daemon forgets the regions")


def test_a_fit_that_ends_leaves_no_region(spark: SparkSession, node: Node, undisturbed: bytes) -> None:
    assert undisturbed

    eventually(lambda: open_regions(spark) == 0, what="the regions are given back")
    eventually(lambda: not region_files(node.settings.daemon_socket), what="the files of the regions are deleted")
    eventually(lambda: not mapped(node.worker()), what="the worker lets go of what the files held")


def test_what_memory_has_no_room_for_goes_to_disk(spark: SparkSession, data: DataFrame, undisturbed: bytes) -> None:
    with on_device(spark), setting(spark, {"spark.accel.memory.limit": "64k"}):
        model = estimator(maxIter=150).fit(data)

    assert centres(model) == undisturbed
    eventually(lambda: open_regions(spark) == 0, what="the regions on disk are given back")


@pytest.fixture(scope="module")
def deviceless() -> Iterator[dict[str, str]]:
    """The configuration of a node whose daemon finds no device and must not do without."""
    with tempfile.TemporaryDirectory(prefix="accel-") as folder:  # short, for the socket
        conf = {"spark.accel.daemon.socket": f"{folder}/daemon.sock"}
        settings = from_spark(conf | {"spark.accel.device": "no:device", "spark.accel.fallback": "error"}, {})
        launch.ensure(settings)
        yield conf
        end_daemon(settings)


def test_where_no_device_can_do_it_stock_spark_does_and_it_is_counted(
    spark: SparkSession, data: DataFrame, deviceless: dict[str, str]
) -> None:
    before = counters(spark).get("fallback.KMeans.kernel", 0)
    with setting(spark, deviceless):
        model = estimator(maxIter=3).fit(data)

    assert centres(model) == centres(KMeans(k=7, seed=1, tol=0.0, initMode="random", maxIter=3).fit(data))
    assert counters(spark)["fallback.KMeans.kernel"] == before + 1
    eventually(lambda: open_regions(spark) == 0, what="the regions are given back")


def test_where_no_device_can_do_it_and_that_must_not_be_the_fit_fails(
    spark: SparkSession, data: DataFrame, deviceless: dict[str, str]
) -> None:
    with (
        setting(spark, deviceless | {"spark.accel.fallback": "error"}),
        pytest.raises((Py4JJavaError, PySparkException)) as raised,
    ):
        estimator(maxIter=3).fit(data)

    text = str(raised.value)
    assert "KMeans was not fitted on the device" in text
    assert "no OpenCL device matches 'device=no:device'" in text
    assert "with spark.accel.fallback=cpu stock Spark would do it" in text


def test_where_no_daemon_can_be_started_stock_spark_fits(spark: SparkSession, data: DataFrame) -> None:
    before = counters(spark).get("fallback.KMeans.daemon", 0)
    nowhere = {"spark.accel.daemon.socket": "/tmp/accel-nobody/daemon.sock", "spark.accel.daemon.start": "false"}
    with setting(spark, nowhere):
        assert estimator(maxIter=2).fit(data).summary.numIter == 2

    assert counters(spark)["fallback.KMeans.daemon"] == before + 1


def test_labels_that_are_too_large_for_the_device_are_fitted_by_stock_spark(spark: SparkSession) -> None:
    before = counters(spark).get("fallback.NaiveBayes.classes", 0)
    rows = spark.createDataFrame([(Vectors.dense(1.0), 1.0), (Vectors.dense(2.0), 65536.0)], ["features", "label"])

    model = ours(NaiveBayes()).fit(rows)

    assert list(model.pi) == list(NaiveBayes().fit(rows).pi)
    assert counters(spark)["fallback.NaiveBayes.classes"] == before + 1


def test_two_fits_at_once_give_what_each_gives_alone(spark: SparkSession, data: DataFrame, undisturbed: bytes) -> None:
    found: dict[int, bytes] = {}

    def fit(number: int) -> None:
        found[number] = centres(estimator(maxIter=150).fit(data))

    with on_device(spark):
        threads = [threading.Thread(target=fit, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(180)

    assert found == {0: undisturbed, 1: undisturbed}
