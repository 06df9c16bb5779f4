"""The examples and the demo run as they stand, and say clearly what is wrong where they can't."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from spark_sessions import PHOTOGRAPHS, Node, make_node, write_network

from spark_accel import jar
from spark_accel.errors import ConfigurationError

EXAMPLES = Path(__file__).parents[1] / "examples"
PYTHON = Path(sys.executable)
NAMES = sorted(path.name for path in PHOTOGRAPHS.glob("*.jpg"))


def run(node: Node, *command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | node.environment | {"PYSPARK_PYTHON": sys.executable}
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=500)


@pytest.fixture
def built_jar() -> Path:
    try:
        return jar.path()
    except ConfigurationError as error:
        pytest.skip(str(error))


def assert_shows_all(done: subprocess.CompletedProcess[str], model: str) -> None:
    lines = done.stdout.splitlines()
    shown = [line for line in lines if ".jpg" in line]
    assert [line.split()[1] for line in shown] == NAMES, done.stderr
    assert all("class" in line for line in shown)
    assert lines[-1].startswith("8 images in ")
    assert f" images/s, {model} on cpu-0 (Portable Computing Language" in lines[-1]


@pytest.mark.spark
def test_the_classifier_runs_by_spark_submit(node: Node) -> None:
    script = EXAMPLES / "classify_photographs.py"

    done = run(node, PYTHON.with_name("spark-submit"), "--conf", "spark.log.level=OFF", script, PHOTOGRAPHS, "small")

    assert_shows_all(done, "small")


@pytest.mark.spark
@pytest.mark.usefixtures("built_jar")
def test_the_program_with_a_session_of_its_own_runs(node: Node) -> None:
    done = run(node, PYTHON, EXAMPLES / "session_builder.py", "small")

    shown = [line for line in done.stdout.splitlines() if ".jpg" in line]
    assert [line.split("|")[1].split("/")[-1].strip() for line in shown] == NAMES, done.stderr


@pytest.mark.spark
@pytest.mark.usefixtures("built_jar")
def test_the_demo_runs_on_resnet50_where_the_repository_has_it(tmp_path: Path) -> None:
    node = make_node(tmp_path)
    write_network(node.settings.repository, "resnet50", node.small, node.resize)  # its name is all that counts here

    done = run(node, PYTHON, EXAMPLES / "demo.py")
    node.stop()

    assert_shows_all(done, "resnet50")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--images", "/nowhere"], "there is no folder /nowhere"),
        (["--model", "smal"], "nearest: 'small'"),
        (["--model", "/nowhere/net.onnx"], "there is no file /nowhere/net.onnx"),
    ],
)
def test_the_demo_says_what_is_wrong_in_one_line(node: Node, arguments: list[str], said: str) -> None:
    done = run(node, PYTHON, EXAMPLES / "demo.py", *arguments)

    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert said in line


@pytest.mark.spark
@pytest.mark.parametrize(("folder", "said"), [("/nowhere", "there is no folder"), ("empty", "there are no images")])
def test_a_folder_without_images_is_named(spark: SparkSession, tmp_path: Path, folder: str, said: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(SystemExit, match=said):
        runpy.run_path(str(EXAMPLES / "classify_photographs.py"))["classify"](spark, str(tmp_path / folder), "small")


@pytest.mark.spark
def test_the_kernels_of_the_examples_are_installed_and_called(node: Node) -> None:
    done = run(node, PYTHON, EXAMPLES / "own_kernels.py")

    lines = done.stdout.splitlines()
    assert "vector_add [0.5 1.5 2.5 3.5 4.5]" in lines, done.stderr
    assert any(line.startswith("|   100| 9.413") for line in lines), done.stderr
