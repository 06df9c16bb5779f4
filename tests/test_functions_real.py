"""Real photographs with real weights, from files through Spark and the daemon to classes."""

import csv
import shutil
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from spark_sessions import make_node, setting

from spark_accel.functions import predict

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]
FOLDER = "imagenet-stubs"


def test_real_photographs_get_their_real_classes(
    spark: SparkSession, shared_resnet50: Path, resnet50_model: Path, tmp_path: Path
) -> None:
    node = make_node(tmp_path)
    shutil.copytree(resnet50_model.parent, node.settings.repository / "resnet50")
    with (shared_resnet50 / "images" / "labels.csv").open(encoding="utf-8") as file:
        of_float32 = {row["file"]: int(row["fp32_top1"]) for row in csv.DictReader(file)}
    photographs = spark.read.format("binaryFile").load(str(shared_resnet50 / "images" / FOLDER))

    with setting(spark, node.conf):
        rows = photographs.select("path", predict("content")[0].alias("best")).collect()
    node.stop()

    found = {f"{FOLDER}/{Path(row.path).name}": row.best for row in rows}
    same = sum(best["index"] == of_float32[name] for name, best in found.items())
    assert len(found) == 16
    assert same >= 15, f"{same} of 16 have the first class of float32"
    assert (found[f"{FOLDER}/beagle.jpg"].id, found[f"{FOLDER}/beagle.jpg"].label) == ("n02088364", "beagle")
