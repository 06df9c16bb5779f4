"""`spark_accel.keras.applications.resnet50`: Keras' calls, and the answers that `predict` gives."""

import itertools
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pyspark.sql import SparkSession
from spark_sessions import Node, make_node

from spark_accel.errors import ModelError
from spark_accel.functions import predict
from spark_accel.keras.applications.resnet50 import ResNet50, decode_predictions, preprocess_input

UInt8 = npt.NDArray[np.uint8]


@pytest.fixture
def model(node: Node, monkeypatch: pytest.MonkeyPatch) -> ResNet50:
    for name, text in node.environment.items():
        monkeypatch.setenv(name, text)
    return ResNet50(weights="small")


def images(node: Node, count: int) -> UInt8:
    """Every image of one colour, no two the same."""
    colours = np.random.default_rng(5).integers(0, 256, (count, 1, 1, 3))
    return np.broadcast_to(colours, (count, node.small.height, node.small.width, 3)).astype(np.uint8)


class Photographs:
    """What `keras.utils.Sequence` is: numbered batches of images and labels."""

    def __init__(self, x: UInt8, batch: int) -> None:
        self.x, self.batch = x, batch

    def __len__(self) -> int:
        return math.ceil(len(self.x) / self.batch)

    def __getitem__(self, number: int) -> tuple[UInt8, UInt8]:
        x = self.x[number * self.batch : (number + 1) * self.batch]
        return x, np.zeros(len(x), np.uint8)


def test_answers_are_probabilities_of_all_classes(model: ResNet50, node: Node) -> None:
    answers = model.predict(images(node, 20), verbose=0)

    assert (answers.dtype, answers.shape) == (np.float32, (20, 11))
    assert np.allclose(answers.sum(axis=1), 1, atol=1e-5)
    assert model.predict(images(node, 0), verbose=0).shape == (0, 11)


@pytest.mark.spark
def test_the_answers_are_those_of_predict(model: ResNet50, node: Node, spark: SparkSession) -> None:
    x = images(node, 20)
    rows = [(number, one.ravel().tolist()) for number, one in enumerate(x)]
    frame = spark.createDataFrame(rows, "n int, pixels array<smallint>").select("n", predict("pixels", "small"))

    decoded = decode_predictions(model.predict(x, verbose=0), top=5, model=model)

    of_spark = [[(one["id"], one["label"], one["score"]) for one in row[1]] for row in sorted(frame.collect())]
    assert decoded == of_spark


def test_a_batch_size_below_one_is_refused(model: ResNet50) -> None:
    with pytest.raises(ValueError, match="batch_size is -1, expected 1 or more"):
        model.predict(np.zeros((2, 33, 29, 3), np.uint8), batch_size=-1, verbose=0)


def test_an_image_that_is_nearly_black_is_one() -> None:
    assert preprocess_input(np.array([0, 1])).tolist() == [0, 1]


@pytest.mark.parametrize("batch_size", [None, 1, 3, 100])
def test_batches_change_nothing(model: ResNet50, node: Node, batch_size: int | None) -> None:
    x = images(node, 20)

    answers = model.predict(x, batch_size=batch_size, verbose=0)

    assert np.array_equal(answers, np.concatenate([model.predict(x[i : i + 1], verbose=0) for i in range(20)]))


def test_sequences_and_generators_are_answered_in_order(model: ResNet50, node: Node) -> None:
    x = images(node, 23)
    expected = model.predict(x, verbose=0)

    def generator() -> Iterator[UInt8]:
        yield from (x[start : start + 10] for start in range(0, 23, 10))

    assert np.array_equal(model.predict(Photographs(x, 4), verbose=0), expected)
    assert np.array_equal(model.predict(generator(), verbose=0), expected)
    assert np.array_equal(model.predict(((batch, None) for batch in generator()), verbose=0), expected)


def test_steps_end_a_generator_that_has_no_end(model: ResNet50, node: Node) -> None:
    x = images(node, 4)

    answers = model.predict(itertools.repeat(x), steps=3, verbose=0)

    assert np.array_equal(answers, np.tile(model.predict(x, verbose=0), (3, 1)))


def test_a_keras_sequence_is_taken(node: Node) -> None:
    pytest.importorskip("jax", reason="no Keras: install spark-accel[keras]")
    program = f"""
import numpy as np, keras
from spark_accel.keras.applications.resnet50 import ResNet50
class Photographs(keras.utils.PyDataset):
    def __len__(self): return 3
    def __getitem__(self, number): return np.full((2, {node.small.height}, {node.small.width}, 3), number, np.uint8), 0
model = ResNet50("small")
one = model.predict(np.concatenate([Photographs()[number][0] for number in range(3)]))
assert np.array_equal(model.predict(Photographs()), one)
"""
    environment = os.environ | node.environment | {"KERAS_BACKEND": "jax"}

    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=500)


def test_float_pixels_are_rounded(model: ResNet50, node: Node) -> None:
    x = images(node, 3) // 2

    assert np.array_equal(model.predict(x + np.float32(0.4), verbose=0), model.predict(x, verbose=0))


def test_preprocess_input_keeps_rgb_from_0_to_255() -> None:
    x = np.array([[[[0.0, 100.4, 254.6]]]])

    assert np.array_equal(preprocess_input(x), np.array([[[[0, 100, 255]]]], np.uint8))
    assert preprocess_input(np.zeros((2, 3, 3), np.int64)).dtype == np.uint8


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        ([-123.7, 0, 10], "Keras' own has centred these"),
        ([0, 255.2, 256], "expected RGB from 0 to 255"),
        ([0, 0.5, 1], "multiply by 255"),
        ([0, np.nan, 1], "expected RGB"),
    ],
)
def test_pixels_that_somebody_normalised_are_refused(
    model: ResNet50, node: Node, pixels: list[float], reason: str
) -> None:
    x = np.broadcast_to(np.array(pixels), (2, node.small.height, node.small.width, 3))

    with pytest.raises(ValueError, match=reason):
        model.predict(x, verbose=0)


@pytest.mark.parametrize("shape", [(2, 224, 224, 3), (33, 29, 3), ()])
def test_images_of_another_shape_are_refused_with_the_networks(model: ResNet50, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"takes arrays ['n', 33, 29, 3], not {list(shape)}")):
        model.predict(np.zeros(shape, np.uint8))


def test_something_else_than_images_is_refused(model: ResNet50) -> None:
    with pytest.raises(TypeError, match="not int"):
        model.predict(5)


def test_decoded_predictions_are_best_first_and_ties_by_class(model: ResNet50) -> None:
    scores = np.zeros((1, 11), np.float32)
    scores[0, [9, 2, 4]] = [0.5, 0.25, 0.25]

    decoded = decode_predictions(scores, top=3, model=model)

    assert decoded == [[("c9", "class 9", 0.5), ("c2", "class 2", 0.25), ("c4", "class 4", 0.25)]]


def test_a_top_below_one_is_refused(model: ResNet50) -> None:
    with pytest.raises(ValueError, match="top is -1, expected 1 or more"):
        decode_predictions(np.zeros((1, 11)), top=-1, model=model)


def test_predictions_of_another_model_are_refused(model: ResNet50) -> None:
    with pytest.raises(ValueError, match=r"model 'small' are \[n, 11\], not \[1, 1000\]"):
        decode_predictions(np.zeros((1, 1000)), model=model)


def test_an_unknown_model_is_named_with_the_nearest(model: ResNet50) -> None:
    assert model
    with pytest.raises(ModelError, match=r"'smaal'.*'small'"):
        ResNet50(weights="smaal")


def test_imagenet_weights_that_cannot_be_fetched_are_an_error_with_three_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node(tmp_path)
    nowhere = {"https_proxy": "http://127.0.0.1:9", "KERAS_HOME": str(tmp_path / "keras")}
    for name, text in (node.environment | nowhere).items():
        monkeypatch.setenv(name, text)

    with pytest.raises(ModelError, match=r"resnet50.*\(1\) run .*\(2\) .*\(3\) "):
        ResNet50(weights="imagenet")

    node.stop()


@pytest.mark.parametrize(("verbose", "shown"), [(0, False), (1, True), ("auto", False)])
def test_progress_is_shown_when_asked_for(
    model: ResNet50, node: Node, capsys: pytest.CaptureFixture[str], verbose: int | str, shown: bool
) -> None:
    model.predict(images(node, 17), verbose=verbose)

    assert ("3/3" in capsys.readouterr().err) == shown


def test_neither_keras_nor_tensorflow_is_imported() -> None:
    module = "spark_accel.keras.applications.resnet50"
    program = f"import sys, {module}; print({{'keras', 'tensorflow', 'jax'}} & {{*sys.modules}})"

    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)

    assert done.stdout == "set()\n"
