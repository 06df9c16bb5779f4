"""A packed partition: the rows that an estimator's kernels read, as columns that lie in regions, files or arrays.

A dense partition has `values` [rows, stride], each row padded with zeros to `stride(features)` elements. A sparse one
is CSR: `values` and `indices` [nnz], `row_pointers` [rows + 1]. `labels` are class indices, `weights` of None are ones.
Nothing here is trusted: `check_*` say what a kernel may rely on, and whoever reads a column calls them first.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

STRIDE = 16  # elements that a dense row is padded to a multiple of: a vector of 16 float32 never straddles two rows


class DataError(Exception):
    """The columns are no partition: sizes don't fit, an index or a label is out of range. The text is for clients."""


class Column(Protocol):
    """Elements that can be read piece by piece."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of an element."""

    def __len__(self) -> int:
        """The number of elements."""

    def read_into(self, out: npt.NDArray[Any], start: int = 0) -> None:
        """Fills `out` (1-dimensional, contiguous, of `dtype`) with the elements from `start` on."""

    def in_place(self, spare: int) -> npt.NDArray[Any] | None:
        """All elements where they lie, with `spare` more behind them that have no meaning; None where that can't be.

        Others may write to that memory while it is used.
        """

    def holds(self, spare: int) -> bool:
        """Whether what `in_place` gave is still all there."""


class ArrayColumn:
    """A column that lies in a numpy array."""

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self._values = np.ascontiguousarray(values).reshape(-1)

    @property
    def dtype(self) -> np.dtype[Any]:
        """See Column."""
        return self._values.dtype

    def __len__(self) -> int:
        return len(self._values)

    def read_into(self, out: npt.NDArray[Any], start: int = 0) -> None:
        """See Column."""
        out[:] = self._values[start : start + len(out)]

    def in_place(self, spare: int) -> npt.NDArray[Any] | None:
        """See Column: behind an array there is nothing."""
        return None if spare else self._values

    def holds(self, spare: int) -> bool:
        """See Column."""
        return not spare


@dataclass(frozen=True)
class Rows:
    """A partition. `values` are float32 or float64, `indices` int32, `row_pointers` int64, `labels` int32, `weights`
    float64."""

    rows: int
    features: int
    values: Column
    indices: Column | None = None
    row_pointers: Column | None = None
    labels: Column | None = None
    weights: Column | None = None

    @property
    def sparse(self) -> bool:
        """Whether it is CSR."""
        return self.row_pointers is not None

    @property
    def nbytes(self) -> int:
        """The size of all columns in bytes."""
        columns = (self.values, self.indices, self.row_pointers, self.labels, self.weights)
        return sum(len(column) * column.dtype.itemsize for column in columns if column is not None)

    def check_sizes(self) -> None:
        """Raises DataError unless the columns are as long as `rows` and `features` want them."""
        if self.rows < 1 or self.features < 1:
            raise DataError(f"a partition of {self.rows} rows of {self.features} features; both must be at least 1")
        if (self.indices is None) != (self.row_pointers is None):
            raise DataError("a sparse partition has both 'indices' and 'row_pointers', a dense one neither")
        expected = {"labels": (self.labels, self.rows), "weights": (self.weights, self.rows)}
        if self.indices is not None:
            expected["indices"] = (self.indices, len(self.values))
            expected["row_pointers"] = (self.row_pointers, self.rows + 1)
        else:
            expected["values"] = (self.values, self.rows * stride(self.features))
        for name, (column, length) in expected.items():
            if column is not None and len(column) != length:
                raise DataError(
                    f"'{name}' has {len(column)} elements, a partition of {self.rows} rows of {self.features}"
                    f" features wants {length}"
                )


def stride(features: int) -> int:
    """How many elements a dense row of `features` features occupies."""
    return -(-features // STRIDE) * STRIDE


def read(column: Column, start: int = 0, stop: int | None = None) -> npt.NDArray[Any]:
    """The elements of a column from `start` to `stop` (default: its end), in memory of their own."""
    out = np.empty((len(column) if stop is None else stop) - start, column.dtype)
    column.read_into(out, start)
    return out


def check_row_pointers(pointers: npt.NDArray[np.int64], nnz: int) -> None:
    """Raises DataError unless `pointers` [rows + 1] rise from 0 to `nnz`."""
    if pointers[0] != 0 or pointers[-1] != nnz or (pointers[1:] < pointers[:-1]).any():  # a difference may overflow
        raise DataError(f"'row_pointers' do not rise from 0 to {nnz}, the number of values")


def check_range(name: str, values: npt.NDArray[np.int32], below: int) -> None:
    """Raises DataError unless all of `values` are in [0, below)."""
    if values.size and (values.min() < 0 or values.max() >= below):
        raise DataError(f"'{name}' has values from {values.min()} to {values.max()}, expected 0 to {below - 1}")
