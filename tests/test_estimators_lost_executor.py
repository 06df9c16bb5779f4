"""A fit whose executor is killed, `local-cluster[2,1,1024]`: it ends with the same model, and leaves nothing behind."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import eventually
from script_runs import SPARK_HOME, plugin
from spark_sessions import Node, running_node
from test_estimators_faults import region_files
from test_plugin import QUIET

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with running_node(daemon_idleTimeout="2s") as node:
        yield node


@pytest.fixture(scope="module")
def found(node: Node) -> dict[str, Any]:
    """What the application found out."""
    command = [str(SPARK_HOME / "bin" / "spark-submit"), "--master", "local-cluster[2,1,1024]"]
    for key, text in (QUIET | node.conf | plugin() | {"spark.accel.fallback": "error"}).items():
        command += ["--conf", f"{key}={text}"]
    done = subprocess.run(
        [*command, str(Path(__file__).with_name("lost_executor.py")), json.dumps(node.conf)],
        env=os.environ | {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    shutil.rmtree(SPARK_HOME / "work" / facts["application"])
    with contextlib.suppress(OSError):  # not empty
        (SPARK_HOME / "work").rmdir()
    return facts


def test_a_killed_executor_changes_nothing_in_the_model(found: dict[str, Any]) -> None:
    assert found["disturbed"] == found["undisturbed"]


def test_both_fits_were_the_devices(found: dict[str, Any]) -> None:
    assert found["counters"]["accelerated.KMeans"] == 2


def test_the_killed_executors_regions_are_deleted(found: dict[str, Any], node: Node) -> None:
    assert found

    eventually(lambda: not region_files(node.settings.daemon_socket), what="the files of the regions are deleted")
