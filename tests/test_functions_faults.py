"""A job goes on when daemon or device worker are killed under it, and fails at once where no daemon can start."""

import os
import signal
import threading
from pathlib import Path

import numpy as np
import plans
import psutil
import pytest
from conftest import eventually
from pyspark.errors import PythonException
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql.functions import broadcast, col
from spark_sessions import PHOTOGRAPHS, Node, setting, write_network

from spark_accel import daemon_status
from spark_accel.errors import DaemonError
from spark_accel.functions import predict

pytestmark = pytest.mark.spark
ROWS = 1600
NETWORK = "victim"


@pytest.fixture(scope="module")
def victim(spark: SparkSession, node: Node) -> DataFrame:
    """Photographs, each `ROWS` / 8 times, and a network that is slow enough to be hit while it runs."""
    network = plans.random_plan(np.random.default_rng(3), height=96, width=96, channels=16)
    write_network(node.settings.repository, NETWORK, network, resize=96)
    files = [(number, path.read_bytes()) for number, path in enumerate(sorted(PHOTOGRAPHS.glob("*.jpg")))]
    images = spark.createDataFrame(files, "n int, content binary")
    return spark.range(0, ROWS, 1, 2).join(broadcast(images), col("id") % 8 == col("n"))


def answers(frame: DataFrame) -> list[Row]:
    return frame.select("n", predict("content", NETWORK).alias("p")).groupBy("n", "p").count().orderBy("n").collect()


def images_done(node: Node) -> int:
    """How many images the daemon has classified with the network; 0 while there is no daemon."""
    try:
        models = daemon_status.collect(node.settings)["models"]
    except DaemonError:
        return 0
    return sum(model["inferences"] for model in models if model["name"] == NETWORK)


def assert_outlives(node: Node, frame: DataFrame, pid: int) -> None:
    """A job over `frame` in the middle of which process `pid` is killed gives the answers of one that is left alone."""
    before = images_done(node)
    found: list[Row] = []
    job = threading.Thread(target=lambda: found.extend(answers(frame)))
    job.start()
    eventually(lambda: images_done(node) > before + 100, 60, "the job is under way")
    os.kill(pid, signal.SIGKILL)
    assert job.is_alive()
    job.join()
    assert [(row.n, row["count"]) for row in found] == [(number, ROWS // 8) for number in range(8)]
    assert [row.p for row in found] == [row.p for row in answers(frame.where(col("id") < 8))]


def test_a_job_ends_with_all_rows_when_the_daemon_is_killed(node: Node, victim: DataFrame) -> None:
    answers(victim.where(col("id") < 8))
    killed = node.daemon()

    assert_outlives(node, victim, killed.pid)

    assert node.daemon() != killed


def test_a_job_ends_with_all_rows_when_a_device_worker_is_killed(node: Node, victim: DataFrame) -> None:
    answers(victim.where(col("id") < 8))
    (device,) = daemon_status.collect(node.settings)["devices"]

    assert_outlives(node, victim, device["worker_pid"])

    (after,) = daemon_status.collect(node.settings)["devices"]
    assert after["restarts"] == device["restarts"] + 1
    assert not psutil.pid_exists(device["worker_pid"])


@pytest.fixture
def other_socket(tmp_path: Path) -> dict[str, str]:
    """Settings that lead to a socket which no daemon answers."""
    (tmp_path / "node").mkdir(mode=0o700)
    return {"spark.accel.daemon.socket": str(tmp_path / "node" / "d.sock")}


def test_a_daemon_that_cannot_start_fails_the_job_with_its_last_lines(
    spark: SparkSession, other_socket: dict[str, str], tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'no module named spark_accel in this python' >&2\nexit 3\n")
    python.chmod(0o755)

    with (
        setting(spark, other_socket | {"spark.accel.daemon.python": str(python)}),
        pytest.raises(PythonException) as failure,
    ):
        spark.sql("select x'00' as content").select(predict("content", "small")).collect()

    assert f"DaemonError: the daemon can't be started with Python '{python}'" in str(failure.value)
    assert "it ended with status 3" in str(failure.value)
    assert "no module named spark_accel in this python" in str(failure.value)


def test_where_no_daemon_may_be_started_the_job_says_so(spark: SparkSession, other_socket: dict[str, str]) -> None:
    said = r"DaemonError: no daemon answers at .*daemon.start is false"

    with (
        setting(spark, other_socket | {"spark.accel.daemon.start": "false"}),
        pytest.raises(PythonException, match=said),
    ):
        spark.sql("select x'00' as content").select(predict("content", "small")).collect()
