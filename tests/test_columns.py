"""Which columns hold images, and how their cells become pixels: `spark_accel.columns`."""

import io

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from PIL import Image

from spark_accel.columns import reader
from spark_accel.errors import DecodeError
from spark_accel.network_facts import NetworkFacts

UInt8 = npt.NDArray[np.uint8]
NETWORK = NetworkFacts("small", 1, 6, 5, 4, 3, 6, ("a", "b", "c"), ("A", "B", "C"))
PIXELS = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3) * 2 + 70
INTEGERS = [pa.int8(), pa.uint8(), pa.int16(), pa.int32(), pa.int64()]


def read(column: pa.Array, row: int = 0) -> UInt8:
    out = np.zeros((NETWORK.height, NETWORK.width, 3), np.uint8)
    reader(column.type)(column[row], NETWORK, out)
    return out


def nested(element: pa.DataType) -> pa.DataType:
    return pa.list_(pa.list_(pa.list_(element)))


def image_type(**changed: pa.DataType) -> pa.DataType:
    numbers = dict.fromkeys(("height", "width", "nChannels", "mode"), pa.int32())
    return pa.struct(list(({**numbers, "data": pa.binary()} | changed).items()))


@pytest.mark.parametrize("element", INTEGERS, ids=str)
def test_nested_and_flat_arrays_of_any_integers_hold_pixels(element: pa.DataType) -> None:
    values = PIXELS.view(np.int8) if element == pa.int8() else PIXELS
    deep = pa.array([None, values.tolist()], nested(element))
    flat = pa.array([None, values.ravel().tolist()], pa.list_(element))

    assert np.array_equal(read(deep, 1), PIXELS)
    assert np.array_equal(read(flat, 1), PIXELS)


def test_a_slice_of_a_column_reads_its_own_rows() -> None:
    column = pa.array([[[[row, row, row]] * 5] * 6 for row in range(9)], nested(pa.int16())).slice(4)

    assert np.all(read(column, 2) == 6)


def test_nested_arrays_of_another_size_are_scaled() -> None:
    column = pa.array([[[[9, 8, 7]] * 40] * 30], nested(pa.int16()))

    assert np.all(read(column) == (9, 8, 7))


def test_encoded_images_are_decoded() -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (9, 8, 7)).save(file, "PNG")

    for kind in (pa.binary(), pa.large_binary()):
        assert np.all(read(pa.array([file.getvalue()], kind)) == (9, 8, 7))


def test_image_structs_are_read_with_what_else_is_in_them() -> None:
    cell = {"origin": "file:/a.png", "height": 2, "width": 3, "nChannels": 3, "mode": 16, "data": bytes([7, 8, 9]) * 6}

    assert np.all(read(pa.array([cell])) == (9, 8, 7))


def test_a_column_of_nothing_but_nulls_is_taken() -> None:
    assert reader(pa.null())
    assert reader(image_type(height=pa.null(), data=pa.null()))


@pytest.mark.parametrize(
    "column",
    [
        pa.string(),
        pa.float32(),
        pa.list_(pa.float32()),
        pa.list_(pa.list_(pa.int16())),
        pa.struct([("data", pa.binary())]),
        image_type(data=pa.list_(pa.int8())),
        image_type(height=pa.float64()),
        image_type(mode=pa.string()),
    ],
    ids=str,
)
def test_a_column_that_holds_no_images_is_refused_with_what_is_taken(column: pa.DataType) -> None:
    with pytest.raises(TypeError, match=r"encoded images \(binary\)") as refusal:
        reader(column)

    assert str(refusal.value).endswith(f"not {column}")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], "without pixels"),
        ([[]], "without pixels"),
        ([[[]]], r"\[1, 1, 0\]"),
        ([[[1, 2, 3]], [[1, 2, 3], [4, 5, 6]]], "ragged"),
        ([[[1, 2, 3]], [[1, 2]]], "ragged"),
        ([[[1, 2, 3]], None], "ragged"),
        ([[[1, 2, None]]], "null"),
        ([[[1, 2, 256]]], "values from 1 to 256"),
        ([[[1, 2, -1]]], "values from -1 to 2"),
        ([[[1, 2, 3, 4]]], r"\[1, 1, 4\]"),
    ],
)
def test_a_nested_array_that_is_no_image_is_refused(value: object, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        read(pa.array([value], nested(pa.int16())))


def test_a_flat_array_of_another_length_is_refused_with_the_expected_one() -> None:
    with pytest.raises(DecodeError, match="flat array of 4 values, expected 6 x 5 x 3 = 90"):
        read(pa.array([[1, 2, 3, 4]], pa.list_(pa.int16())))
