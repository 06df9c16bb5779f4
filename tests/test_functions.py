"""What `predict` answers: the classes that the network gives, whatever holds the image and however rows are cut."""

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from PIL import Image
from pyspark.errors import PythonException
from pyspark.sql import Row, SparkSession
from pyspark.sql.functions import col
from pyspark.sql.types import ArrayType, FloatType, IntegerType, StringType, StructField, StructType
from spark_sessions import PHOTOGRAPHS, Node, setting

from spark_accel import functions, images, partition
from spark_accel.errors import ConfigurationError
from spark_accel.functions import device, predict, try_predict
from spark_accel.networks import reference

pytestmark = pytest.mark.spark
UInt8 = npt.NDArray[np.uint8]


def pictures(count: int, seed: int = 0) -> list[UInt8]:
    """Coloured rectangles on coloured ground, no two the same."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        picture = np.full((50, 60, 3), rng.integers(0, 256, 3), np.uint8)
        picture[rng.integers(25) :, rng.integers(30) :] = rng.integers(0, 256, 3)
        made.append(picture)
    return made


def png(picture: UInt8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def fitted(node: Node, picture: UInt8) -> UInt8:
    return images.fit_array(picture, node.small.height, node.small.width, node.resize)


def expected(node: Node, batch: Sequence[UInt8], top: int = 5) -> list[list[tuple[int, float]]]:
    """The definition: numpy reference, softmax in float64, the best `top` classes, ties by the lower index."""
    logits = reference.run(node.small, np.stack(batch)).astype(np.float64)
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    best = np.argsort(-logits, axis=1, kind="stable")[:, :top]
    return [[(int(index), float(row[index])) for index in indices] for indices, row in zip(best, scores, strict=True)]


def assert_answers(rows: Sequence[list[Row]], answers: list[list[tuple[int, float]]]) -> None:
    assert [[one["index"] for one in row] for row in rows] == [[index for index, _ in answer] for answer in answers]
    scores = [one.score for row in rows for one in row]
    assert np.allclose(scores, [score for answer in answers for _, score in answer], rtol=1e-4, atol=1e-7)


def test_the_result_is_an_array_of_structs(spark: SparkSession) -> None:
    frame = spark.sql("select cast(null as binary) as content").select(predict("content", "small"))

    fields = [("index", IntegerType()), ("id", StringType()), ("label", StringType()), ("score", FloatType())]
    assert frame.schema["predict(content)"].dataType == ArrayType(StructType([StructField(*one) for one in fields]))


def test_photographs_get_the_networks_classes_best_first(spark: SparkSession, node: Node) -> None:
    frame = spark.read.format("binaryFile").load(f"{PHOTOGRAPHS}/*.jpg")

    rows = frame.select("content", predict("content", "small", top=3).alias("p")).collect()

    pixels = [images.decode(row.content, node.small.height, node.small.width, node.resize) for row in rows]
    assert len(rows) == 8
    assert_answers([row.p for row in rows], expected(node, pixels, top=3))
    assert all((one.id, one.label) == (f"c{one['index']}", f"class {one['index']}") for row in rows for one in row.p)


def test_rows_keep_their_answers_across_the_batches_of_spark_and_network(spark: SparkSession, node: Node) -> None:
    made = pictures(50)
    frame = spark.createDataFrame(list(enumerate(map(png, made))), "n int, content binary")
    with setting(spark, {"spark.sql.execution.arrow.maxRecordsPerBatch": "3"}):
        rows = frame.repartition(3).select("n", predict("content", "small").alias("p")).collect()

    assert_answers([row.p for row in sorted(rows)], expected(node, [fitted(node, picture) for picture in made]))


def test_image_structs_give_what_their_files_give(spark: SparkSession, node: Node, tmp_path: Path) -> None:
    made = pictures(3)
    for number, picture in enumerate(made):
        (tmp_path / f"{number}.png").write_bytes(png(picture))

    frame = spark.read.format("image").load(str(tmp_path)).select(predict("image", "small").alias("p"), "image.origin")

    rows = [row.p for row in sorted(frame.collect(), key=lambda row: row.origin)]
    assert_answers(rows, expected(node, [fitted(node, picture) for picture in made]))


@pytest.mark.parametrize("kind", ["tinyint", "smallint", "int", "bigint"])
def test_arrays_of_pixels_are_classified(spark: SparkSession, node: Node, kind: str) -> None:
    pixels = fitted(node, pictures(1)[0])
    values = pixels.view(np.int8) if kind == "tinyint" else pixels
    rows = [(values.tolist(), values.ravel().tolist())]
    frame = spark.createDataFrame(rows, f"nested array<array<array<{kind}>>>, flat array<{kind}>")

    row = frame.select(predict("nested", "small").alias("n"), predict("flat", "small").alias("f")).first()

    assert_answers([row.n, row.f], expected(node, [pixels, pixels]))


def test_numpy_arrays_are_classified_through_arrow_as_the_documentation_says(spark: SparkSession, node: Node) -> None:
    batch = np.stack([fitted(node, picture) for picture in pictures(4)])
    values = pa.array(batch.view(np.int8).ravel())
    pixels = pa.ListArray.from_arrays(np.arange(len(batch) + 1, dtype=np.int32) * batch[0].size, values)

    rows = spark.createDataFrame(pa.table({"pixels": pixels})).select(predict("pixels", "small").alias("p")).collect()

    assert_answers([row.p for row in rows], expected(node, batch))


def test_more_classes_than_there_are_gives_them_all(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(png(pictures(1)[0]),)], "content binary")

    row = frame.select(predict("content", "small", top=100).alias("p")).first()

    assert len(row.p) == 11
    assert sum(one.score for one in row.p) == pytest.approx(1, abs=1e-5)


def test_a_frame_without_rows_gives_none(spark: SparkSession) -> None:
    assert spark.createDataFrame([], "content binary").select(predict("content", "small")).collect() == []


@pytest.mark.parametrize("top", [0, -1, 2.5, "5", True])
def test_a_top_that_is_no_number_of_classes_is_refused(spark: SparkSession, top: int) -> None:
    assert spark
    with pytest.raises(ValueError, match="top is"):
        predict("content", "small", top=top)


def test_a_model_that_is_no_name_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    assert spark
    with pytest.raises(TypeError, match="expected the name of a model"):
        predict("content", model=tmp_path)


def test_an_unknown_setting_is_refused_with_the_nearest(spark: SparkSession) -> None:
    said = r"'spark.accel.repositry'; nearest: 'spark.accel.repository'"

    with setting(spark, {"spark.accel.repositry": "/x"}), pytest.raises(ConfigurationError, match=said):
        predict("content", "small")


def test_an_unknown_model_is_named_with_the_nearest(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(b"",)], "content binary")

    with pytest.raises(PythonException, match=r"ModelError: model 'smal' .*'small'"):
        frame.select(predict("content", "smal")).collect()


def test_a_column_without_images_is_refused_with_what_is_taken(spark: SparkSession) -> None:
    with pytest.raises(PythonException, match=r"TypeError: predict takes a column of encoded images .* not string"):
        spark.sql("select 'a.jpg' as path").select(predict("path", "small")).collect()


def test_the_function_of_spark_4_0_gives_the_same(spark: SparkSession, node: Node) -> None:
    pixels = fitted(node, pictures(1)[0])
    picture = {"origin": "", "height": pixels.shape[0], "width": pixels.shape[1], "nChannels": 3, "mode": 16}
    picture["data"] = pixels[:, :, ::-1].tobytes()
    kinds = "content binary, image struct<origin:string,height:int,width:int,nChannels:int,mode:int,data:binary>"
    rows = [(png(pixels), picture, pixels.tolist()), (None, None, None)]
    frame = spark.createDataFrame(rows, f"{kinds}, pixels array<array<array<smallint>>>")

    def both(column: str) -> list[list[Row]]:
        def run(arrays: object) -> object:
            return partition.classify(arrays, conf, "small", 5, strict=True)

        of_pandas = functions._pandas_function("predict", run, functions.RESULT_TYPE)
        return frame.select(predict(column, "small").alias("a"), of_pandas(column).alias("p")).collect()

    conf = node.conf
    for column in ("content", "image", "pixels"):
        first, second = both(column)
        assert first.a == first.p
        assert (second.a, second.p) == (None, None)


def test_the_device_of_the_node_is_named(spark: SparkSession) -> None:
    row = spark.range(1).select(device()).first()

    assert row["device(0)"].startswith("cpu-0 (Portable Computing Language")


_CONNECT = """
import sys
from pyspark.sql import SparkSession
from spark_accel.functions import predict, try_predict
session = SparkSession.builder.remote("local[2]").getOrCreate()
assert "connect" in type(session).__module__
frame = session.read.format("binaryFile").load(sys.argv[1] + "/*.jpg")
rows = frame.select(predict("content", "small", top=1).alias("p")).collect()
bad = session.createDataFrame([(b"no image",)], "content binary").select(try_predict("content", "small").alias("p"))
print("answers", *(row.p[0]["index"] for row in rows), bad.first().p)
session.conf.set("spark.accel.device", "cpu")
session.conf.set("spark.accel.devise", "cpu")
try:
    predict("content", "small")
except ValueError as error:
    print(error)
"""


def test_spark_connect_gives_the_same(spark: SparkSession, node: Node) -> None:
    frame = spark.read.format("binaryFile").load(f"{PHOTOGRAPHS}/*.jpg")
    here = [row.p[0]["index"] for row in frame.select(predict("content", "small", top=1).alias("p")).collect()]
    environment = os.environ | node.environment | {"SPARK_TESTING": "1"}

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CONNECT, PHOTOGRAPHS],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )

    assert f"answers {' '.join(map(str, here))} None" in done.stdout, done.stderr
    assert "unknown setting 'spark.accel.devise'; nearest: 'spark.accel.device'" in done.stdout


def test_both_functions_fit_into_one_select(spark: SparkSession, node: Node) -> None:
    picture = pictures(1)[0]
    frame = spark.createDataFrame([(png(picture),)], "content binary")

    two = predict("content", "small", 2).alias("a"), try_predict(col("content"), "small").alias("b")
    row = frame.select(*two).first()

    assert_answers([row.a], expected(node, [fitted(node, picture)], 2))
    assert row.b[:2] == row.a
