"""Partitions for the tests of the estimators' kernels: random ones, dense or sparse, as arrays and as `Rows`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_accel.estimators.rows import ArrayColumn, Rows, stride

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Partition:
    """`x` is the partition as a dense float64 matrix [rows, features], `columns` are its columns as they are packed."""

    x: npt.NDArray[np.float64]
    columns: dict[str, Array]

    @property
    def rows(self) -> int:
        return len(self.x)

    @property
    def features(self) -> int:
        return self.x.shape[1]

    @property
    def weights(self) -> Array:
        return self.columns.get("weights", np.ones(self.rows))

    @property
    def labels(self) -> Array:
        return self.columns["labels"]

    def as_rows(self) -> Rows:
        columns = {name: ArrayColumn(values) for name, values in self.columns.items()}
        return Rows(self.rows, self.features, **columns)


def partition(
    rng: np.random.Generator,
    rows: int = 30,
    features: int = 5,
    *,
    sparse: bool = False,
    precision: type = np.float32,
    weighted: bool = True,
    classes: int = 3,
) -> Partition:
    """Values of `precision` around 1, half of them zero where `sparse`; labels of all `classes` if there are rows."""
    x = rng.normal(1.0, 1.0, (rows, features)) * (rng.random((rows, features)) < (0.5 if sparse else 1.0))
    columns = pack(x.astype(precision), sparse)
    columns["labels"] = rng.permutation(np.arange(rows) % classes).astype(np.int32)
    if weighted:
        columns["weights"] = rng.random(rows)
    return Partition(x.astype(precision).astype(np.float64), columns)


def pack(x: Array, sparse: bool = False) -> dict[str, Array]:
    """The columns of a matrix [rows, features]: padded rows, or CSR."""
    if not sparse:
        padded = np.zeros((len(x), stride(x.shape[1])), x.dtype)
        padded[:, : x.shape[1]] = x
        return {"values": padded.reshape(-1)}
    row, column = np.nonzero(x)
    pointers = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(x)))])
    return {
        "values": x[row, column],
        "indices": column.astype(np.int32),
        "row_pointers": pointers.astype(np.int64),
    }
