"""Memory stays flat over a stream of rows, in Spark's Python workers and in the daemon's processes."""

import io
import threading

import numpy as np
import plans
import psutil
import pytest
from PIL import Image
from pyspark.sql import Row, SparkSession
from pyspark.sql.functions import broadcast, col
from spark_sessions import Node, setting, write_network

from spark_accel.functions import predict

pytestmark = pytest.mark.spark
ROWS = 20_000
ALLOWED = 24 * 2**20  # bytes; a fifth of the encoded images, a fortieth of the decoded ones


@pytest.fixture(scope="module")
def tiny(node: Node) -> str:
    """The name of a network that takes next to no time."""
    network = plans.random_plan(np.random.default_rng(1), height=17, width=15, blocks=(1,), channels=4)
    write_network(node.settings.repository, "tiny", network, resize=20, max_batch=32)
    return "tiny"


def noisy_jpegs(count: int) -> list[bytes]:
    rng = np.random.default_rng(2)
    files = []
    for _ in range(count):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize((160, 120)).save(file, "JPEG", quality=95)
        files.append(file.getvalue())
    return files


def memory(node: Node) -> int:
    """Bytes of all Python workers, of the daemon and its device workers."""
    family = (one for one in psutil.Process().children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE)
    found = [one for one in family if "pyspark.daemon" in " ".join(one.cmdline())]
    daemon = node.daemon()
    return sum(one.memory_info().rss for one in (*found, daemon, *daemon.children(recursive=True)))


def test_memory_is_flat_over_20000_rows(spark: SparkSession, node: Node, tiny: str) -> None:
    images = spark.createDataFrame(list(enumerate(noisy_jpegs(8))), "n int, content binary")
    rows = spark.range(0, ROWS, 1, 2).join(broadcast(images), col("id") % 8 == col("n"))
    images.select(predict("content", tiny)).collect()  # daemon and workers are up, the network is loaded
    classified = rows.select("n", predict("content", tiny, top=1).alias("p")).groupBy("n", "p").count()
    found: list[Row] = []
    job = threading.Thread(target=lambda: found.extend(classified.collect()))
    samples = []

    with setting(spark, {"spark.sql.execution.arrow.maxRecordsPerBatch": "500"}):
        job.start()
        while job.is_alive():
            job.join(0.05)
            try:
                samples.append(memory(node))
            except psutil.NoSuchProcess:
                continue  # a process ended while it was asked

    quarter = len(samples) // 4
    assert sorted((row.n, row["count"]) for row in found) == [(number, ROWS // 8) for number in range(8)]
    assert all(len(row.p) == 1 for row in found)
    assert quarter > 4, "too few samples"
    grown = np.median(samples[-quarter:]) - np.median(samples[quarter : 2 * quarter])
    assert grown < ALLOWED, f"{grown / 2**20:.0f} MiB more at the end than after a quarter"
