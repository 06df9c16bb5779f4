"""Unchanged PySpark scripts through Spark Connect: in the script's own process, and to a server that has the plugin."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import eventually
from script_runs import FEW, FITS, SPARK_HOME, STOCK_SCRIPT, Place, accelerated, place, plugin

pytestmark = pytest.mark.spark
__all__ = ["place"]


def test_in_the_scripts_own_process_configure_is_enough(place: Place) -> None:
    phases = [{"configure": True, "steps": FEW}]

    # SPARK_TESTING: its server takes any port that is free.
    found = place.run(STOCK_SCRIPT, {}, phases, SPARK_REMOTE="local[2]", SPARK_TESTING="1")

    assert found["sessions"][0]["steps"] == accelerated(*FEW)


@pytest.fixture
def server(place: Place) -> Iterator[str]:
    """The address of a Connect server with the plugin."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    conf = place.conf | plugin() | {"spark.master": "local[2]", "spark.connect.grpc.binding.port": str(port)}
    command = [str(SPARK_HOME / "bin" / "spark-submit")]
    command += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer"]
    for key, text in conf.items():
        command += ["--conf", f"{key}={text}"]
    log = place.folder / "server.log"
    environment = os.environ | {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    with log.open("w") as file:
        process = subprocess.Popen(
            [*command, "spark-internal"], env=environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL
        )
    try:
        eventually(lambda: _answers(port, process, log), 90, "the Connect server listens")
        yield f"sc://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def test_a_client_of_a_server_with_the_plugin_needs_nothing(place: Place, server: str) -> None:
    found = place.run(STOCK_SCRIPT, {}, [{}], SPARK_REMOTE=server)

    assert found["sessions"][0]["steps"] == accelerated(*FITS)


def _answers(port: int, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
