"""Tables to train on: scikit-learn's own, and generated ones that are hard on float32, on scaling or on partitions.

A table is numpy; `frame` makes a DataFrame of it whose rows lie in partitions of sizes that a test chooses.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn.datasets
from pyspark.ml.linalg import Vector, Vectors, VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DoubleType, StructField, StructType

Float64 = npt.NDArray[np.float64]
_TYPES = {"features": VectorUDT(), "label": DoubleType(), "weight": DoubleType()}
_SCHEMA = StructType([StructField(name, kind) for name, kind in _TYPES.items()])


@dataclass(frozen=True, eq=False)
class Table:
    """Rows `x` [n, features] with class indices `y` [n] and weights `w` [n], some of them zero; `sparse`: their vectors
    are."""

    x: Float64
    y: Float64
    w: Float64
    sparse: bool = False

    def rows(self) -> list[tuple[Any, ...]]:
        """(features, label, weight) for Spark."""
        return [(self._vector(row), float(y), float(w)) for row, y, w in zip(self.x, self.y, self.w, strict=True)]

    def _vector(self, row: Float64) -> Vector:
        if not self.sparse:
            return Vectors.dense(row)
        at = np.flatnonzero(row)
        return Vectors.sparse(len(row), at.tolist(), row[at].tolist())


@functools.cache
def table(name: str) -> Table:
    """The table of a name in TABLES; always the same, so leave it as it is."""
    return TABLES[name]()


def frame(spark: SparkSession, rows: Sequence[tuple[Any, ...]], sizes: Sequence[int] | None = None) -> DataFrame:
    """A cached DataFrame of (features, label, weight), each of which may be null; its partitions have `sizes` rows
    (default: four of about the same size)."""
    if sizes is None:
        sizes = np.diff(np.linspace(0, len(rows), 5).astype(int)).tolist()
    assert sum(sizes) == len(rows)
    ends = np.cumsum([0, *sizes]).tolist()
    parts = [list(rows[start:stop]) for start, stop in pairwise(ends)]
    rdd = spark.sparkContext.parallelize(parts, len(parts)).flatMap(lambda part: part)
    return spark.createDataFrame(rdd, _SCHEMA, verifySchema=False).cache()


def ragged(rows: int) -> list[int]:
    """Sizes of partitions with `rows` rows together: empty ones, ones of one row, and one of nearly all the rest."""
    return [0, 1, rows // 5, 0, 1, rows - rows // 5 - 3, 1, 0]


def _weights(n: int, seed: int = 5) -> Float64:
    """From 0 to 3; every seventh is zero."""
    weights = np.random.default_rng(seed).random(n) * 3
    weights[::7] = 0
    return weights


def _real(load: Callable[..., Any]) -> Callable[[], Table]:
    def made() -> Table:
        x, y = load(return_X_y=True)
        order = np.random.default_rng(11).permutation(len(x))  # they come sorted by class
        return Table(x[order].astype(float), y[order].astype(float), _weights(len(x)))

    return made


def _covtype(n: int = 3000) -> Table:
    """Twenty columns in the manner of forest cover types: lengths and angles of very different scales, and flags."""
    rng = np.random.default_rng(1)
    y = rng.choice(7, n, p=[0.36, 0.3, 0.12, 0.03, 0.05, 0.06, 0.08])
    scale = np.array([280.0, 112, 7, 212, 58, 1559, 27, 20, 38, 1324])
    centre = np.array([2959.0, 156, 14, 269, 46, 2350, 212, 223, 142, 1980])
    measured = np.round(centre + scale * (rng.normal(size=(7, 10))[y] * 0.8 + rng.normal(size=(n, 10))))
    flags = rng.random((n, 10)) < (0.05 + 0.4 * rng.random((7, 10)))[y]
    return Table(np.hstack([measured, flags]), y.astype(float), _weights(n))


def _sparse(n: int = 400, features: int = 10_000, each: int = 40) -> Table:
    """Shares of `each` of 10,000 features a row, some of them typical of the row's class, and one that is constant."""
    rng = np.random.default_rng(2)
    y = rng.integers(0, 3, n)
    typical = rng.choice(features, (3, 100), replace=False)
    x = np.zeros((n, features))
    for row, label in zip(x, y, strict=True):
        row[rng.choice(features, each // 2, replace=False)] = rng.integers(1, 4, each // 2)
        row[rng.choice(typical[label], each // 2, replace=False)] = rng.integers(1, 6, each // 2)
    x *= rng.random((n, 1)) + 0.5  # no two distances are equal
    x[:, 77] = 0.1  # constant, and no binary fraction
    return Table(x, y.astype(float), _weights(n), sparse=True)


def _blobs(n: int = 1500, features: int = 6, classes: int = 3, apart: float = 1.0) -> tuple[Float64, Float64]:
    rng = np.random.default_rng(3)
    y = rng.integers(0, classes, n)
    return rng.normal(size=(classes, features))[y] * apart + rng.normal(size=(n, features)), y.astype(float)


def _far() -> Table:
    """A mean of 1e4 and a spread of 1."""
    x, y = _blobs()
    return Table(x + 1e4, y, _weights(len(x)))


def _scales() -> Table:
    """Features of sizes from 1e-6 to 1e6 in one row."""
    x, y = _blobs(features=7)
    return Table(x * 10.0 ** np.arange(-6, 7, 2), y, _weights(len(x)))


def _clock() -> Table:
    """Days in seconds since 1970, and hours: what tells rows apart is a ten-thousandth of what does not."""
    rng = np.random.default_rng(8)
    day, hour = rng.integers(0, 3, 600), rng.choice([0.0, 12.0], 600)
    x = np.stack([1.7e9 + 86400.0 * day, hour + rng.normal(0, 0.3, 600)], axis=1)
    return Table(x, day.astype(float), _weights(600))


def _epoch() -> Table:
    """Times in seconds since 1970 that are one second apart."""
    rng = np.random.default_rng(9)
    y = rng.integers(0, 3, 600)
    return Table((1.7e9 + y + rng.normal(0, 0.05, 600))[:, None], y.astype(float), _weights(600))


def _flat() -> Table:
    """Among ordinary features one that is always zero and two that are constant."""
    x, y = _blobs(features=7)
    x[:, 1], x[:, 3], x[:, 5] = 0, 17.25, 1 / 3
    return Table(x, y, _weights(len(x)))


def _one_class() -> Table:
    x, y = _blobs(n=200, features=4)
    return Table(x, np.ones_like(y), _weights(len(x)))


def _few_points() -> Table:
    """Five different points, each of them often."""
    points = np.random.default_rng(4).normal(size=(5, 3))
    x = points[np.arange(200) % 5]
    return Table(x, np.arange(200.0) % 2, _weights(200))


def _bits() -> Table:
    rng = np.random.default_rng(6)
    y = rng.integers(0, 4, 1200)
    x = rng.random((1200, 30)) < rng.random((4, 30))[y]
    return Table(x.astype(float), y.astype(float), _weights(1200))


def _counts() -> Table:
    """Counts by class, and classes 0, 2 and 5 only; one feature is never there."""
    rng = np.random.default_rng(7)
    y = rng.integers(0, 3, 1200)
    x = rng.poisson(3 * rng.random((3, 24))[y]).astype(float)
    x[:, 4] = 0
    return Table(x, np.array([0.0, 2.0, 5.0])[y], _weights(1200))


TABLES: dict[str, Callable[[], Table]] = {
    "digits": _real(sklearn.datasets.load_digits),
    "breast cancer": _real(sklearn.datasets.load_breast_cancer),
    "wine": _real(sklearn.datasets.load_wine),
    "iris": _real(sklearn.datasets.load_iris),
    "covtype": _covtype,
    "sparse": _sparse,
    "far": _far,
    "scales": _scales,
    "clock": _clock,
    "epoch": _epoch,
    "flat": _flat,
    "one class": _one_class,
    "few points": _few_points,
    "bits": _bits,
    "counts": _counts,
}
