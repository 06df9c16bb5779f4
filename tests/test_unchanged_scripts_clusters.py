"""Unchanged PySpark scripts through `spark-submit`, with executors of their own: `local-cluster` and standalone."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import eventually
from script_runs import SPARK_HOME, STOCK_SCRIPT, Place, accelerated, place, plugin

pytestmark = pytest.mark.spark
__all__ = ["place"]
# Fits are what differs where executors are other processes; what a script makes and loads is the driver's affair.
STEPS = ["fit", "save", "load_pipeline"]
SUBMIT = (str(SPARK_HOME / "bin" / "spark-submit"),)


def test_in_local_cluster_mode_the_fits_are_ours(place: Place) -> None:
    conf = plugin() | {"spark.master": "local-cluster[2,1,1024]"}

    found = place.run(STOCK_SCRIPT, conf, [{"steps": STEPS}], SUBMIT)

    (session,) = found["sessions"]
    assert session["steps"] == accelerated(*STEPS)
    shutil.rmtree(SPARK_HOME / "work" / session["application"])
    with contextlib.suppress(OSError):  # not empty
        (SPARK_HOME / "work").rmdir()


@pytest.fixture
def standalone(place: Place) -> Iterator[str]:
    """The address of a standalone cluster of one worker."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = f"spark://127.0.0.1:{port}"
    work = str(place.folder / "work")
    with (
        _spark_class(place, "master.Master", "--host", "127.0.0.1", "--port", port, "--webui-port", "0"),
        _spark_class(place, "worker.Worker", address, "--webui-port", "0", "-c", "2", "-m", "1g", "-d", work),
    ):
        eventually(lambda: _listens(int(port)), 60, "the master listens")
        yield address


def test_in_a_standalone_cluster_the_fits_are_ours(place: Place, standalone: str) -> None:
    conf = plugin() | {"spark.master": standalone}

    found = place.run(STOCK_SCRIPT, conf, [{"steps": STEPS}], SUBMIT)

    assert found["sessions"][0]["steps"] == accelerated(*STEPS)


@contextlib.contextmanager
def _spark_class(place: Place, name: str, *arguments: str) -> Iterator[None]:
    environment = os.environ | {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    command = [str(SPARK_HOME / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}", *arguments]
    log = Path(place.folder / f"{name}.log")
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(60)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
