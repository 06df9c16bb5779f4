"""Random partitions to measure the estimators' kernels on."""

from typing import Any

import numpy as np

from spark_accel.estimators.rows import ArrayColumn, Rows, stride


def dense(rows: int, features: int, classes: int, real: np.dtype[Any]) -> Rows:
    """Normal values with random labels."""
    rng = np.random.default_rng(0)
    values = np.zeros((rows, stride(features)), real)
    values[:, :features] = rng.standard_normal((rows, features), dtype=np.float32)
    return Rows(rows, features, ArrayColumn(values), labels=_labels(rng, rows, classes))


def sparse(rows: int, features: int, density: float, classes: int, real: np.dtype[Any]) -> Rows:
    """Normal values, the same number in each row, at places that a thousand kinds of rows share; random labels."""
    rng = np.random.default_rng(0)
    each = max(1, round(features * density))
    kinds = np.stack([np.sort(rng.choice(features, each, replace=False)) for _ in range(1000)]).astype(np.int32)
    return Rows(
        rows,
        features,
        ArrayColumn(rng.standard_normal(rows * each, dtype=np.float32).astype(real)),
        ArrayColumn(kinds[rng.integers(0, len(kinds), rows)]),
        ArrayColumn(np.arange(rows + 1) * each),
        labels=_labels(rng, rows, classes),
    )


def _labels(rng: np.random.Generator, rows: int, classes: int) -> ArrayColumn:
    return ArrayColumn(rng.integers(0, classes, rows).astype(np.int32))
