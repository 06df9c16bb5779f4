"""What a request to an estimator's kernel says, checked: parameters, the partition, and the kernel's own arrays.

Nothing is read or allocated here before its size is known to be sane: a partition is as large as the columns that a
client really has, and a kernel's own arrays and answers are bounded. What the elements may be, the engine checks.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from grpc import StatusCode

from spark_accel.daemon.batch_request import BatchRequest, Input, Place
from spark_accel.daemon.content_cache import Content, Part
from spark_accel.daemon.request import RequestError
from spark_accel.estimators.rows import ArrayColumn, Column, Rows, stride
from spark_accel.estimators.sums import Float64

_DTYPES: Mapping[str, np.dtype[Any]] = {
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
}
_COLUMNS = ("values", "indices", "row_pointers", "labels", "weights")
_MOST = 2**31 - 1  # rows and features: indices are int32
_MOST_VERSION = 2**63 - 1
_MOST_BYTES = 2**30  # of one matrix of centres, coefficients or sums


class RegionColumn:
    """A column that lies in a region, read piece by piece. The server has held its shape against the place's size."""

    def __init__(self, name: str, dtype: np.dtype[Any], place: Place) -> None:
        self._name = name
        self._dtype = dtype
        self._place = place

    @property
    def dtype(self) -> np.dtype[Any]:
        """See Column."""
        return self._dtype

    def __len__(self) -> int:
        return self._place.size // self._dtype.itemsize

    def read_into(self, out: npt.NDArray[Any], start: int = 0) -> None:
        """See Column; raises RequestError if the region's file has become too short."""
        self._place.read_into(out.view(np.uint8).data, self._name, start * self._dtype.itemsize)

    def in_place(self, spare: int) -> npt.NDArray[Any] | None:
        """See Column."""
        found = self._place.mapped(spare * self._dtype.itemsize)
        return None if found is None else np.frombuffer(found, self._dtype)

    def holds(self, spare: int) -> bool:
        """See Column."""
        return self._place.holds(self._place.size + spare * self._dtype.itemsize)


def partition(request: BatchRequest) -> Rows:
    """The partition of a request; raises RequestError for its parameters, rows.DataError for columns that don't fit."""
    columns = {name: _column(request.inputs[name]) for name in _COLUMNS if name in request.inputs}
    rows = Rows(integer(request, "rows", 1, _MOST), integer(request, "features", 1, _MOST), **columns)
    rows.check_sizes()
    return rows


def content(request: BatchRequest, rows: Rows) -> Content | None:
    """The identity of the partition's data, None without a `content_version` above 0; raises RequestError."""
    version = integer(request, "content_version", 0, _MOST_VERSION, 0)
    if not version:
        return None
    parts = []
    for tensor in (request.inputs[name] for name in _COLUMNS if name in request.inputs):
        place = tensor.source
        if isinstance(place, Place):
            parts.append(Part(tensor.name, tensor.datatype, place.region, place.offset, place.size))
        elif tensor.elements:  # no elements, which no region can hold, are always the same
            raise invalid(
                f"request parameter 'content_version' is {version} and input '{tensor.name}' came inline: what is kept"
                " is known by its place, so put all of the partition into regions, or leave the parameter out"
            )
    return Content(tuple(parts), rows.rows, rows.features, version)


def integer(request: BatchRequest, name: str, least: int, most: int, default: int | None = None) -> int:
    """An integer parameter of a request, `default` where it is left out; raises RequestError."""
    value = request.parameters.get(name, default)
    if value is None:
        raise invalid(f"request parameter '{name}' is missing, expected an integer from {least} to {most}")
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise invalid(f"request parameter '{name}' is {value!r}, expected an integer from {least} to {most}")
    return value


def boolean(request: BatchRequest, name: str) -> bool:
    """A parameter that is true or false, and false where it is left out; raises RequestError."""
    value = request.parameters.get(name, False)
    if not isinstance(value, bool):
        raise invalid(f"request parameter '{name}' is {value!r}, expected true or false")
    return value


def vector(request: BatchRequest, name: str, length: int) -> Float64:
    """Input `name`, float64 [length]; raises RequestError."""
    tensor = request.inputs[name]
    if tensor.elements != length:
        raise invalid(f"'{name}' has {tensor.elements} elements, expected {length}")
    # The bytes of an inline input may lie at an odd address.
    return np.require(_array(tensor), requirements="A")


def matrix(request: BatchRequest, name: str, features: int) -> Float64:
    """Input `name`, float64 [any, features]; raises RequestError."""
    elements = request.inputs[name].elements
    if elements < features or elements % features:
        raise invalid(f"'{name}' has {elements} elements, expected a multiple of {features}, the number of features")
    check_sets(elements // features, features, f"'{name}' has")
    return vector(request, name, elements).reshape(-1, features)


def check_sets(sets: int, features: int, where: str) -> None:
    """Raises RequestError where a matrix [sets, features] would be too large, with rows as kernels have them."""
    width = stride(features)
    if sets * width * 8 > _MOST_BYTES:
        raise invalid(
            f"{where} {sets} x {features} elements, {sets * width * 8} bytes as the kernels have them, and at most"
            f" {_MOST_BYTES} are taken; use fewer features, or fewer centres or classes"
        )


def invalid(message: str) -> RequestError:
    """The refusal of a request that is wrong."""
    return RequestError(StatusCode.INVALID_ARGUMENT, message)


def _column(tensor: Input) -> Column:
    if isinstance(tensor.source, Place):
        tensor.source.check(tensor.name)
        return RegionColumn(tensor.name, _DTYPES[tensor.datatype], tensor.source)
    return ArrayColumn(_array(tensor))


def _array(tensor: Input) -> npt.NDArray[Any]:
    return np.frombuffer(tensor.read(), _DTYPES[tensor.datatype])
