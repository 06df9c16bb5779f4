"""Reads the cells of a Spark column of images, as Arrow brings them: what kinds there are, how each becomes pixels.

Decoding and scaling are `images.py`'s; what happens to a cell that can't be read is `partition.py`'s.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from spark_accel import images
from spark_accel.errors import DecodeError
from spark_accel.network_facts import NetworkFacts

UInt8 = npt.NDArray[np.uint8]
Reader = Callable[[pa.Scalar, NetworkFacts, UInt8], None]
"""Reads a cell (a pyarrow scalar, not null) into uint8 [height, width, 3]; raises DecodeError, saying why it can't."""

_NUMBERS = ("height", "width", "nChannels", "mode")


def reader(column: pa.DataType) -> Reader:
    """How a cell of this type is read. Raises TypeError, naming the type and what is taken, where it holds no images.

    - binary: an encoded file;
    - a struct with the fields of Spark's `image` type;
    - array<array<array<integer>>>: RGB pixels [height, width, 3], 0 to 255;
    - array<integer>: the same, flat and row by row, of just the size that the network takes.

    A tinyint holds the eight bits of a pixel, as a Java byte does: -1 is 255.
    """
    if _is_binary(column):
        return _encoded
    if pa.types.is_struct(column) and _is_image({field.name: field.type for field in column}):
        return _image_struct
    levels, element = 0, column
    while _is_list(element):
        levels, element = levels + 1, element.value_type
    if levels in (1, 3) and pa.types.is_integer(element):
        return _flat_array if levels == 1 else _nested_array
    raise TypeError(
        "predict takes a column of encoded images (binary), of Spark's image structs, or of pixels from 0 to 255 "
        f"(array<array<array<smallint>>> [height, width, 3], or flat array<smallint>), not {column}"
    )


def _is_binary(column: pa.DataType) -> bool:
    return bool(pa.types.is_null(column) or pa.types.is_binary(column) or pa.types.is_large_binary(column))


def _is_image(fields: Mapping[str, pa.DataType]) -> bool:
    numbers = [fields.get(name, pa.bool_()) for name in _NUMBERS]  # a boolean is neither
    are_whole = all(pa.types.is_integer(number) or pa.types.is_null(number) for number in numbers)
    return are_whole and _is_binary(fields.get("data", pa.bool_()))


def _is_list(column: pa.DataType) -> bool:
    return bool(pa.types.is_list(column) or pa.types.is_large_list(column))


def _encoded(cell: pa.Scalar, network: NetworkFacts, out: UInt8) -> None:
    images.decode(memoryview(cell.as_buffer()), network.height, network.width, network.resize, out)


def _image_struct(cell: pa.Scalar, network: NetworkFacts, out: UInt8) -> None:
    data = cell["data"].as_buffer()
    fields = {name: cell[name].as_py() for name in _NUMBERS}
    fields["data"] = None if data is None else memoryview(data)
    images.fit_struct(fields, network.height, network.width, network.resize, out)


def _nested_array(cell: pa.Scalar, network: NetworkFacts, out: UInt8) -> None:
    values = cell.values
    shape = [len(values)]
    while _is_list(values.type):
        if not len(values):
            raise DecodeError("an array without pixels")
        sides = pc.unique(values.value_lengths()).to_pylist()
        if len(sides) != 1 or sides[0] is None:
            raise DecodeError(f"a ragged array: rows or pixels of {sides} values")
        values = values.flatten()
        shape.append(sides[0])
    images.fit_array(_pixels(values).reshape(shape), network.height, network.width, network.resize, out)


def _flat_array(cell: pa.Scalar, network: NetworkFacts, out: UInt8) -> None:
    expected = network.height * network.width * 3
    if len(cell.values) != expected:
        raise DecodeError(
            f"a flat array of {len(cell.values)} values, expected {network.height} x {network.width} x 3 = {expected}"
        )
    out[...] = _pixels(cell.values).reshape(out.shape)


def _pixels(values: pa.Array) -> UInt8:
    if values.null_count:
        raise DecodeError(f"{values.null_count} of its values are null")
    numbers: npt.NDArray[np.integer] = values.to_numpy()
    if numbers.dtype == np.int8:
        return numbers.view(np.uint8)
    if len(numbers) and (numbers.min() < 0 or numbers.max() > 255):
        raise DecodeError(f"values from {numbers.min()} to {numbers.max()}, expected 0 to 255")
    return numbers.astype(np.uint8)
