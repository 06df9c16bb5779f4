"""The plugin in real Spark, `local[2]`: the daemon's life, metrics, and what happens where no daemon can be."""

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
from pyspark.find_spark_home import _find_spark_home
from spark_sessions import Node, running_node

from spark_accel import endpoint, jar
from spark_accel.session import PLUGIN

pytestmark = pytest.mark.spark
APPLICATIONS = Path(__file__).with_name("plugin_applications.py")


# The UI on any free port of this machine's own address, nothing but warnings, and JVMs that are soon started.
_QUICK_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
QUIET = {
    "spark.ui.port": "0",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "WARN",
    "spark.driver.extraJavaOptions": _QUICK_START,
    "spark.executor.extraJavaOptions": _QUICK_START,
    "spark.deploy.appIdPattern": f"app-%s-%04d-{os.getpid()}",  # two clusters of one second share SPARK_HOME's work/
}
LOCAL = QUIET | {"spark.master": "local[2]"}


def launch(command: list[str], name: str, conf: dict[str, str], **environment: str) -> subprocess.CompletedProcess[str]:
    jar.path()  # says how to build it if it is missing
    return subprocess.run(
        [*command, str(APPLICATIONS), name, json.dumps(conf)],
        env=os.environ | {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


def submitted(name: str, node: Node, master: str) -> dict[str, Any]:
    """What application `name` found out, through `spark-submit`; what executors left in SPARK_HOME is deleted."""
    submit = [str(Path(sys.executable).with_name("spark-submit")), "--master", master]
    submit += ["--jars", str(jar.path()), "--conf", f"spark.plugins={PLUGIN}"]
    for key, text in (node.conf | QUIET).items():
        submit += ["--conf", f"{key}={text}"]
    done = launch(submit, name, node.conf)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    work = Path(_find_spark_home()) / "work"
    shutil.rmtree(work / found["application"])
    with contextlib.suppress(OSError):  # not empty
        work.rmdir()
    return found


def run(name: str, conf: dict[str, str], **environment: str) -> tuple[Any, str]:
    """What application `name` found out in local mode, and what it logged."""
    done = launch([sys.executable], name, conf | LOCAL, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with running_node(daemon_idleTimeout="2s", device="reference") as node:
        yield node


@pytest.fixture(scope="module")
def sessions(node: Node) -> list[dict[str, Any]]:
    """What two sessions, one after the other, found out."""
    facts, _ = run("two_sessions", node.conf)
    return facts


def test_the_plugin_starts_the_daemon_and_holds_a_lease_as_long_as_its_session(sessions: list[dict[str, Any]]) -> None:
    for session in sessions:
        (executor,) = session["executors"]
        assert executor.startswith("executor driver of ")


def test_the_metrics_count_what_the_daemon_does_for_the_session(sessions: list[dict[str, Any]]) -> None:
    for session in sessions:
        assert session["classified"] == 8
        assert session["metrics"]["images"] == 8
        assert 1 <= session["metrics"]["requests"] <= 8
        assert session["metrics"]["secondsWaited"] >= 0


def test_the_daemon_leaves_when_the_last_session_has_stopped(sessions: list[dict[str, Any]], node: Node) -> None:
    assert sessions
    eventually(lambda: not endpoint.answers(node.settings.daemon_socket), what="the daemon leaves")


@pytest.fixture(scope="module")
def misfits(node: Node, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """What sessions found out, and logged, that have no daemon, each for another reason."""
    python = tmp_path_factory.mktemp("bad") / "python"
    python.write_text("#!/bin/sh\necho the module was eaten by a dog >&2\nexit 7\n")
    python.chmod(0o700)
    return run("no_daemon", node.conf, BAD_PYTHON=str(python))


def test_a_plugin_that_is_switched_off_does_nothing(misfits: tuple[dict[str, Any], str]) -> None:
    facts, _ = misfits
    assert facts["off"] == {"metrics": {}, "leases": []}


def test_an_unknown_setting_ends_the_start_of_spark_with_the_nearest(misfits: tuple[dict[str, Any], str]) -> None:
    facts, _ = misfits
    nearest = "unknown setting 'spark.accel.daemon.idletime'; nearest: 'spark.accel.daemon.idleTimeout'"
    assert nearest in facts["unknown setting"]


def test_a_daemon_that_cannot_start_fails_predict_with_its_own_words(misfits: tuple[dict[str, Any], str]) -> None:
    facts, _ = misfits
    assert "DaemonError: the daemon can't be started" in facts["error of predict"]
    assert "the module was eaten by a dog" in facts["error of predict"]


def test_a_daemon_that_cannot_start_is_warned_of_and_leaves_other_jobs_alone(
    misfits: tuple[dict[str, Any], str],
) -> None:
    facts, log = misfits
    assert facts["counted"] == 100
    assert log.count("WARN NodeLease: No node daemon for this executor") == 1
    assert "exit status 7\nthe module was eaten by a dog" in log
    assert "set spark.accel.daemon.python to a Python that has spark-accel" in log


def test_a_device_that_is_not_there_is_warned_of_where_spark_logs(misfits: tuple[dict[str, Any], str]) -> None:
    facts, log = misfits
    assert facts["classified with nobody:nothing"] == 8
    said = "WARN NodeLease: The node daemon does its work with numpy on the CPU, slowly: no OpenCL device matches"
    assert log.count(said) >= 1


def test_a_setting_that_the_running_daemon_does_not_go_by_is_warned_of(misfits: tuple[dict[str, Any], str]) -> None:
    facts, log = misfits
    assert facts["classified with reference"] == 8
    assert log.count("WARN NodeLease: spark.accel.device=reference has no effect: the daemon at ") == 1
