"""The real ResNet50 v1.5 on 216 photographs: what quantisation to int8 may cost. Slow: a minute or two."""

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from spark_accel.images import decode
from spark_accel.networks import plan, reference

pytestmark = pytest.mark.timeout(900)

Int64 = npt.NDArray[np.int64]


@pytest.fixture(scope="module")
def rows(shared_resnet50: Path) -> list[dict[str, str]]:
    with (shared_resnet50 / "images" / "labels.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def answers(rows: list[dict[str, str]], shared_resnet50: Path, resnet50_model: Path) -> Int64:
    """The first class of each photograph by the numpy reference, which all other tiers equal bit for bit."""
    network = plan.load(resnet50_model)
    files = [shared_resnet50 / "images" / row["file"] for row in rows]
    images = np.stack([decode(file.read_bytes(), 224, 224, 256) for file in files])
    parts = [reference.run(network, images[start : start + 32]) for start in range(0, len(images), 32)]
    return np.concatenate(parts).argmax(axis=1)


def test_at_least_187_of_216_photographs_are_right(answers: Int64, rows: list[dict[str, str]]) -> None:
    right = answers == [int(row["class_index"]) for row in rows]

    assert right.sum() >= 187


def test_at_least_205_of_216_photographs_have_the_first_class_of_float32(
    answers: Int64, rows: list[dict[str, str]]
) -> None:
    same = answers == [int(row["fp32_top1"]) for row in rows]

    assert same.sum() >= 205
