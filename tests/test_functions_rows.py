"""One bad cell costs one row: each kind of cell that is not a plain photograph, among good ones."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyspark.errors import PythonException
from pyspark.sql import Row, SparkSession
from pyspark.sql.functions import monotonically_increasing_id
from spark_sessions import PHOTOGRAPHS, Node

from spark_accel import client, partition
from spark_accel.functions import predict, try_predict

pytestmark = pytest.mark.spark
PHOTOGRAPH = (PHOTOGRAPHS / "cat.jpg").read_bytes()


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def corrupt_jpeg() -> bytes:
    return PHOTOGRAPH[:2] + bytes(len(PHOTOGRAPH) - 2)


def truncated_jpeg() -> bytes:
    return PHOTOGRAPH[: len(PHOTOGRAPH) // 2]


def cmyk_jpeg() -> bytes:
    return encode(Image.open(io.BytesIO(PHOTOGRAPH)).convert("CMYK"), "JPEG")


def grey_jpeg() -> bytes:
    return encode(Image.open(io.BytesIO(PHOTOGRAPH)).convert("L"), "JPEG")


def single_pixel() -> bytes:
    return encode(Image.new("RGB", (1, 1), "red"), "JPEG")


def animated_gif() -> bytes:
    frames = [Image.new("RGB", (50, 40), colour) for colour in ("red", "blue")]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:])


def deep_png() -> bytes:
    return encode(Image.fromarray(np.full((40, 50), 0x80FF, np.uint16)), "PNG")


def transparent_png() -> bytes:
    return encode(Image.new("RGBA", (50, 40), (255, 0, 0, 99)), "PNG")


def palette_png() -> bytes:
    return encode(Image.new("RGB", (50, 40), "red").quantize(4), "PNG")


def empty() -> bytes:
    return b""


def a_pdf() -> bytes:
    return b"%PDF-1.7 and no image at all"


DECODABLE = (cmyk_jpeg, grey_jpeg, single_pixel, animated_gif, deep_png, transparent_png, palette_png)
UNDECODABLE = {
    corrupt_jpeg: "",
    truncated_jpeg: "truncated",
    empty: "it is empty",
    a_pdf: "no image format that is known",
}


@dataclass(frozen=True)
class Classified:
    """Every cell above in one column, with a photograph before and after each, in one partition."""

    rows: dict[str, Row]
    photographs: list[Row]


@pytest.fixture(scope="module")
def classified(spark: SparkSession) -> Classified:
    cells: list[tuple[str, bytes | None]] = [("photograph", PHOTOGRAPH), ("null", None)]
    for make in (*DECODABLE, *UNDECODABLE):
        cells += [("photograph", PHOTOGRAPH), (make.__name__, make())]
    frame = spark.createDataFrame([*cells, ("photograph", PHOTOGRAPH)], "kind string, content binary").coalesce(1)

    rows = frame.select("kind", try_predict("content", "small").alias("p")).collect()

    assert [row.kind for row in rows] == [kind for kind, _ in cells] + ["photograph"]
    return Classified({row.kind: row for row in rows}, [row.p for row in rows if row.kind == "photograph"])


def test_no_other_row_is_lost_to_any_of_them(classified: Classified) -> None:
    assert len(classified.photographs) == len(DECODABLE) + len(UNDECODABLE) + 2
    assert all(row == classified.photographs[0] for row in classified.photographs)
    assert len(classified.photographs[0]) == 5


@pytest.mark.parametrize("make", DECODABLE, ids=lambda make: make.__name__)
def test_an_unusual_image_is_classified(classified: Classified, make: Callable[[], bytes]) -> None:
    assert len(classified.rows[make.__name__].p) == 5


@pytest.mark.parametrize("make", UNDECODABLE, ids=lambda make: make.__name__)
def test_try_predict_gives_null_for_what_is_no_image(classified: Classified, make: Callable[[], bytes]) -> None:
    assert classified.rows[make.__name__].p is None


def test_a_null_cell_gives_null(classified: Classified) -> None:
    assert classified.rows["null"].p is None


def test_predict_gives_null_for_a_null_cell_and_goes_on(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(None,), (PHOTOGRAPH,), (None,)], "content binary").coalesce(1)

    rows = [row.p for row in frame.select(predict("content", "small").alias("p")).collect()]

    assert [row is None for row in rows] == [True, False, True]


@pytest.mark.parametrize(("make", "reason"), UNDECODABLE.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_predict_fails_naming_row_partition_and_reason(
    spark: SparkSession, make: Callable[[], bytes], reason: str
) -> None:
    cells = [PHOTOGRAPH, None, PHOTOGRAPH, make(), PHOTOGRAPH]
    frame = spark.createDataFrame([(cell,) for cell in cells], "content binary").coalesce(1)

    with pytest.raises(PythonException, match=rf"DecodeError: .*row 3 of partition 0 \(from 0\): .*{reason}"):
        frame.select(predict("content", "small")).collect()


def test_the_row_that_predict_names_is_found_by_its_number(spark: SparkSession, tmp_path: Path) -> None:
    cells = [(f"row {number}", PHOTOGRAPH if number != 7 else b"") for number in range(10)]
    spark.createDataFrame(cells, "name string, content binary").repartition(3).write.parquet(str(tmp_path / "rows"))
    frame = spark.read.parquet(str(tmp_path / "rows"))

    with pytest.raises(PythonException) as failure:
        frame.select(predict("content", "small")).collect()

    named = re.search(r"row (\d+) of partition (\d+)", str(failure.value))
    assert named is not None
    row, partition_number = map(int, named.groups())
    found = frame.where(monotonically_increasing_id() == (partition_number << 33) + row).collect()
    assert [row.name for row in found] == ["row 7"]


def test_image_structs_and_arrays_lose_no_other_row_either(spark: SparkSession) -> None:
    image = Row(origin="", height=4, width=5, nChannels=3, mode=16, data=bytes(range(60)))
    broken = Row(origin="", height=4, width=5, nChannels=3, mode=16, data=b"too short")
    unread = Row(origin="", height=-1, width=-1, nChannels=-1, mode=-1, data=b"")
    pixels = [[[1, 2, 3]] * 5] * 4
    rows = [(image, pixels), (None, None), (broken, [[[1, 2]]]), (unread, []), (image, [[]]), (image, pixels)]
    kinds = "image struct<origin:string,height:int,width:int,nChannels:int,mode:int,data:binary>"
    frame = spark.createDataFrame(rows, f"{kinds}, pixels array<array<array<smallint>>>").coalesce(1)

    both = try_predict("image", "small").alias("i"), try_predict("pixels", "small").alias("p")
    answers = frame.select(*both).collect()

    assert [row.i is not None for row in answers] == [True, False, False, False, True, True]
    assert [row.p is not None for row in answers] == [True, False, False, False, False, True]


def test_a_partition_logs_how_many_rows_it_could_not_decode(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    cells = pa.array([b"", PHOTOGRAPH, *[b"no"] * 5, None])

    answers = list(partition.classify(iter([cells]), node.conf, "small", 5, strict=False))
    client.shared(node.settings).close()  # this process runs no other task

    (record,) = caplog.records
    assert sum(map(len, answers)) == len(cells)
    assert record.levelname == "WARNING"
    assert record.message.startswith("try_predict: 6 of 8 rows of partition 0 can't be decoded and are null: row 0 of")
    assert record.message.endswith("; and 3 more")
