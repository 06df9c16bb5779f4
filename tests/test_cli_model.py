"""`spark-accel model …` as a user types it: real processes on a real repository."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from onnx_models import resnet


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = resnet(18, classes=3, side=32)
    return model.save(tmp_path_factory.mktemp("onnx") / "thin.onnx", model.nodes[-1].output[0])


@pytest.fixture
def run(tmp_path: Path) -> object:
    """Runs `spark-accel model` with these arguments on a repository of the test's own."""

    def call(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        where = ["--repository", str(tmp_path / "repository"), "--socket", str(tmp_path / "daemon.sock")]
        line = [sys.executable, "-m", "spark_accel", "model", command, *arguments, *where]
        return subprocess.run(line, capture_output=True, text=True, check=False)

    return call


def test_a_network_is_imported_listed_shown_and_removed(run: object, network: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\nsnow leopard\n")

    imported = run("import", str(network), "--name", "animals", "--labels", str(labels), "--preprocessing", "tf")
    listed = json.loads(run("list", "--json").stdout)
    shown = json.loads(run("show", "animals", "--json").stdout)
    removed = run("remove", "animals")

    assert imported.returncode == 0, imported.stderr
    assert "model 'animals', version 1" in imported.stdout
    assert "quantise animals: 100%" in imported.stderr
    assert [model["name"] for model in listed] == ["animals"]
    assert (shown["name"], shown["classes"], shown["versions"]) == ("animals", 3, [1])
    assert removed.returncode == 0, removed.stderr
    assert json.loads(run("list", "--json").stdout) == []


def test_a_piped_list_has_long_names_whole(run: object, tmp_path: Path) -> None:
    name = "n" * 120
    (tmp_path / "repository" / name).mkdir(parents=True)

    assert name in run("list").stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["import", "/nonexistent.onnx"], "spark-accel: /nonexistent.onnx is not a file"),
        (["import"], "spark-accel: give either a network's FILE or --keras NAME"),
        (["import", __file__], "is neither .onnx nor .keras"),
        (["show", "absent"], "spark-accel: model 'absent' is not in the repository"),
        (["remove", "../repository"], "spark-accel: model '../repository' is not in the repository"),
        (["install", "/nonexistent"], "spark-accel: /nonexistent"),
        (["import", "kmeans_lloyd.onnx"], "spark-accel: 'kmeans_lloyd' is a built-in model; take another name"),
    ],
)
def test_a_mistake_is_one_line_and_status_1(run: object, arguments: list[str], reason: str) -> None:
    done = run(*arguments)

    assert done.returncode == 1
    assert reason in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
