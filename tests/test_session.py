"""`spark_accel.configure`: jar and plugin are added to what the user has, or the user hears why that is of no use."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from spark_sessions import Node, make_node

import spark_accel
from spark_accel import jar
from spark_accel.errors import ConfigurationError

PLUGIN = "org.sparkaccel.AccelPlugin"
CONNECT_BACKENDS = "spark.connect.ml.backend.classes"
SPARK_SUBMIT = str(Path(sys.executable).with_name("spark-submit"))


@pytest.fixture
def built_jar() -> str:
    try:
        return str(jar.path())
    except ConfigurationError as error:
        pytest.skip(str(error))


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, for Spark allows one context in each."""
    unset = {"SPARK_REMOTE", "SPARK_CONF_DIR", "SPARK_API_MODE"}
    inherited = {name: text for name, text in os.environ.items() if name not in unset}
    inherited |= {"PYSPARK_PYTHON": sys.executable} | environment
    return subprocess.run(command, check=False, env=inherited, capture_output=True, text=True, timeout=500)


def options(builder: str, **environment: str) -> dict[str, str]:
    """The options of a builder, given as an expression, after `configure`."""
    program = f"""
import json, spark_accel
from pyspark.sql import SparkSession
print(json.dumps(spark_accel.configure(SparkSession.builder{builder})._options))
"""
    done = run(sys.executable, "-c", program, **environment)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_jar_and_plugin_are_set(built_jar: str) -> None:
    assert options("") == {"spark.jars": built_jar, "spark.plugins": PLUGIN}


def test_they_are_added_to_those_of_the_builder_and_only_once(built_jar: str) -> None:
    given = f'.config("spark.jars", "/a.jar").config("spark.plugins", "x.Y, {PLUGIN}")'

    assert options(given) == {"spark.jars": f"/a.jar,{built_jar}", "spark.plugins": f"x.Y,{PLUGIN}"}


def test_they_are_added_to_those_of_spark_defaults(built_jar: str, tmp_path: Path) -> None:
    (tmp_path / "spark-defaults.conf").write_text("# ours\nspark.plugins   x.Y\nspark.jars = /a.jar,/b.jar\n")

    found = options("", SPARK_CONF_DIR=str(tmp_path))

    assert found == {"spark.jars": f"/a.jar,/b.jar,{built_jar}", "spark.plugins": f"x.Y,{PLUGIN}"}


def test_connect_in_the_same_process_gets_the_jar_and_the_backend(built_jar: str) -> None:
    for given in ('.remote("local[2]")', '.config("spark.api.mode", "connect")'):
        found = options(f'{given}.config("{CONNECT_BACKENDS}", "x.Y")')

        assert found["spark.jars"] == built_jar
        assert found[CONNECT_BACKENDS] == "x.Y,org.sparkaccel.ConnectBackend"
        assert "spark.plugins" not in found


def test_a_connect_server_elsewhere_is_left_alone() -> None:
    assert options('.remote("sc://host")') == {"spark.remote": "sc://host"}


@pytest.mark.spark
def test_an_active_session_is_refused(spark: SparkSession) -> None:
    assert spark
    with pytest.raises(ConfigurationError, match="a Spark session is active"):
        spark_accel.configure(SparkSession.builder)


@pytest.mark.spark
@pytest.mark.usefixtures("built_jar")
def test_a_process_whose_jvm_lacks_the_jar_is_refused() -> None:
    program = """
import spark_accel
from pyspark.sql import SparkSession
SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate().stop()
from spark_accel.ml.clustering import KMeans
for use in (lambda: spark_accel.configure(SparkSession.builder), KMeans, lambda: KMeans.load("/nowhere")):
    try:
        use()
    except spark_accel.errors.ConfigurationError as error:
        print(error)
"""
    configured, made, loaded = run(sys.executable, "-c", program).stdout.splitlines()

    assert "has a Spark JVM already, without spark-accel's jar" in configured
    assert "spark_accel.ml.clustering.KMeans is not in the driver's JVM: call spark_accel.configure" in made
    assert loaded == made


_CONFIGURED = """
import time
import spark_accel
from pyspark.sql import SparkSession
builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
session = spark_accel.configure(builder).getOrCreate()
print("plugins", session.conf.get("spark.plugins"))
from spark_accel import endpoint, settings
end = time.monotonic() + 60  # a thread of the plugin's starts it
while not endpoint.answers(settings.from_environment().daemon_socket) and time.monotonic() < end:
    time.sleep(0.1)
print("daemon", endpoint.answers(settings.from_environment().daemon_socket))
session.stop()
session = spark_accel.configure(builder).getOrCreate()
print("again", session.range(3).count())
session.stop()
"""


@pytest.mark.spark
def test_the_plugin_of_a_configured_session_starts_the_daemon(built_jar: str, tmp_path: Path) -> None:
    assert built_jar
    node = make_node(tmp_path)

    done = run(sys.executable, "-c", _CONFIGURED, **node.environment)
    node.stop()

    assert done.stdout.splitlines() == [f"plugins {PLUGIN}", "daemon True", "again 3"], done.stderr


@pytest.mark.spark
def test_under_spark_submit_it_agrees_with_the_command_line(built_jar: str, tmp_path: Path, node: Node) -> None:
    (tmp_path / "app.py").write_text(_CONFIGURED)

    without = run(SPARK_SUBMIT, str(tmp_path / "app.py"), **node.environment)
    given = run(SPARK_SUBMIT, "--jars", built_jar, str(tmp_path / "app.py"), **node.environment)

    assert "give spark-submit --jars" in without.stdout  # where spark-submit puts all that Python writes
    assert given.stdout.splitlines() == [f"plugins {PLUGIN}", "daemon True", "again 3"], given.stderr
