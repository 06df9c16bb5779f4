"""The options of `spark-accel bench`: which bench takes which, and what is said of a wrong one."""

from pathlib import Path

import pytest
from test_bench import told

from spark_accel.bench import random_network, suite
from spark_accel.bench.network_inputs import prepare
from spark_accel.bench.options import Options
from spark_accel.errors import ConfigurationError
from spark_accel.networks import calibration_images


def test_the_help_of_a_bench_has_the_names_of_its_peers() -> None:
    assert "scikit-learn, mllib" in told("kmeans", "--help").stdout


def test_the_help_of_a_bench_has_the_options_that_it_takes_and_no_others() -> None:
    said = {name: told(name, "--help").stdout for name in ("kmeans", "all")}

    assert ["--batches" in text for text in said.values()] == [False, True]
    assert all("--scale" in text for text in said.values())


def test_options_that_a_bench_does_not_take_are_not_said_to_be_its_own() -> None:
    said = Options(peers=("mllib",), threads=1).shown(suite.BENCHES["kmeans"].takes)

    assert said == "--peers mllib --rounds 5 --threads 1 --scale 1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["resnet50", "--peers", "opnvino"], "--peers: 'opnvino' has no part in this; known are openvino"),
        (["kmeans", "--peers", "openvino"], "'openvino' has no part in this; known are scikit-learn, mllib and none"),
        (["all", "--peers", "opnvino"], "'opnvino' has no part in this; known are openvino, onnxruntime, tensorflow"),
        (["resnet50", "--model", "/nowhere"], "--model is '/nowhere': expected an ONNX file that exists"),
        (["resnet50", "--model", "absent", "--repository", "/nowhere"], "model 'absent' is not in the repository"),
        (["resnet50", "--images", "/nowhere"], "--images is '/nowhere': expected a folder that exists"),
        (["resnet50", "--model", "/nowhere.onnx"], "--model is '/nowhere.onnx': expected an ONNX file that exists"),
        (["resnet50", "--labels", __file__], "--labels needs --images"),
        (["resnet50", "--images", "/", "--labels", __file__], "expected a CSV with the columns file (in --images) and"),
        (["resnet50", "--batches", "1,x"], "--batches is '1,x': expected numbers from 1 on"),
        (["resnet50", "--batches", "0"], "--batches is '0': expected numbers from 1 on"),
        (
            ["kmeans", "--batches", "1,8"],
            "--batches decides nothing in the bench kmeans: those that take it are resnet50 and all",
        ),
        (["daemon", "--rows", "20000"], "--rows decides nothing in the bench daemon: those that take it are spark"),
        (["resnet50", "--scale", "1"], "those that take it are kmeans, logistic, naive-bayes, spark and all"),
        (["spark", "--price-per-hour", "1"], "--price-per-hour decides nothing in the bench spark"),
        (["daemon", "--profile"], "--profile decides nothing in the bench daemon"),
        (["resnet50", "--threads", "9999"], "--threads is 9999: expected 1 to"),
        (["resnet50", "--rounds", "0"], "--rounds is 0: expected 1 or more"),
        (["kmeans", "--scale", "0.0001"], "--scale is 0.0001: expected 0.001 or more"),
        (["kmeans", "--json", "/nowhere/result.json"], "/nowhere/result.json can't be written"),
        (["report", "/nowhere.json"], "/nowhere.json can't be read as results"),
        (["report", __file__], "can't be read as results"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_measured(arguments: list[str], said: str) -> None:
    done = told(*arguments)

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("spark-accel: ")
    assert said in line


@pytest.mark.parametrize(("right", "said"), [(0, ""), (4, ""), (5, "expected 0 to 4"), (-1, "expected 0 to 4")])
def test_labels_are_classes_of_the_network_in_a_file_as_spreadsheets_write_it(
    right: int, said: str, tmp_path: Path
) -> None:
    network = random_network.write(tmp_path / "tiny.onnx", side=32, thinner=8, stages=1, classes=5)
    photograph = min(calibration_images.PHOTOGRAPHS.glob("*.jpg"))
    labels = tmp_path / "labels.csv"
    labels.write_text(f"file,class_index\n{photograph.name},{right}\n", encoding="utf-8-sig")
    options = Options(model=str(network), images=str(photograph.parent), labels=str(labels)).checked()

    if said:
        with pytest.raises(ConfigurationError, match=f"the class_index of {photograph.name} is {right}: {said}"):
            prepare(options, tmp_path)
    else:
        assert prepare(options, tmp_path).right == (right,)
