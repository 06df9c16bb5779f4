"""Generated data for the estimators' benchmark: Parquet files of vectors that Spark reads, and scikit-learn's peers.

`scale` multiplies the rows.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DoubleType, StructField, StructType

_PARTITIONS = 4
_BLOCK = 50_000  # rows that are generated at once
_VECTOR = pa.struct(
    [("type", pa.int8()), ("size", pa.int32()), ("indices", pa.list_(pa.int32())), ("values", pa.list_(pa.float64()))]
)
Float32 = npt.NDArray[np.float32]


def blobs(folder: Path, scale: float) -> Path:
    """500,000 x 100: 64 clusters that overlap, and a label that a linear function of the features makes likely."""
    return _dense(folder / f"blobs-{scale}.parquet", round(500_000 * scale), 100, _blobs)


def letters(folder: Path, scale: float) -> Path:
    """124,800 x 784 with 26 classes, the shape of EMNIST letters: noisy copies of one picture a class, 0 to 1."""
    return _dense(folder / f"letters-{scale}.parquet", round(124_800 * scale), 784, _letters)


def documents(folder: Path, scale: float) -> Path:
    """200,000 x 10,000, 1 % of it non-zero: word counts of five classes, as sparse vectors."""
    path = folder / f"documents-{scale}.parquet"
    if not path.exists():
        rng = np.random.default_rng(2)
        with pq.ParquetWriter(path, _schema(), compression="none") as writer:
            for start in range(0, round(200_000 * scale), _BLOCK):
                rows = min(_BLOCK, round(200_000 * scale) - start)
                label = rng.integers(0, 5, rows)
                steps = rng.integers(1, 199, (rows, 100))  # sorted and distinct without sorting
                indices = (np.minimum(np.cumsum(steps, axis=1), 9_899) + np.arange(100)).astype(np.int32)
                values = rng.integers(1, 5, (rows, 100)).astype(np.float64)
                vectors = pa.StructArray.from_arrays(
                    [
                        pa.array(np.zeros(rows, np.int8)),
                        pa.array(np.full(rows, 10_000, np.int32)),
                        _lists(indices),
                        _lists(values),
                    ],
                    fields=list(_VECTOR),
                )
                writer.write_table(_table(vectors, label))
    return path


def read(spark: SparkSession, path: Path) -> DataFrame:
    """The vectors and labels of a file, in partitions of about the same size: four, or as many as there are cores."""
    schema = StructType([StructField("features", VectorUDT()), StructField("label", DoubleType())])
    partitions = max(_PARTITIONS, spark.sparkContext.defaultParallelism)
    return spark.read.schema(schema).parquet(str(path)).repartition(partitions)


def scikit_kmeans(path: Path, k: int, iterations: int) -> Callable[[], object]:
    """scikit-learn's whole fit of the same data from k random rows."""
    from sklearn.cluster import KMeans  # noqa: PLC0415 - a peer

    x, _ = _array(path)
    first = x[np.random.default_rng(1).choice(len(x), k, replace=False)]
    return lambda: KMeans(k, init=first, n_init=1, max_iter=iterations, tol=0, algorithm="lloyd").fit(x)


def scikit_logistic(path: Path) -> Callable[[], object]:
    """scikit-learn's L-BFGS with the same regularisation and tolerance."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - a peer

    x, y = _array(path)
    return lambda: LogisticRegression(C=1 / (1e-4 * len(x)), tol=1e-6, max_iter=100).fit(x, y)


def scikit_gaussian(path: Path) -> Callable[[], object]:
    """scikit-learn's GaussianNB."""
    from sklearn.naive_bayes import GaussianNB  # noqa: PLC0415 - a peer

    x, y = _array(path)
    return lambda: GaussianNB().fit(x, y)


def _blobs(rng: np.random.Generator, rows: int, features: int) -> tuple[Float32, npt.NDArray[np.int64]]:
    fixed = np.random.default_rng(0)
    centres, normal = fixed.standard_normal((64, features)), fixed.standard_normal(features)
    x = rng.standard_normal((rows, features))
    label = rng.random(rows) < 1 / (1 + np.exp(-2 * (x @ normal) / np.sqrt(features)))
    return (x + centres[rng.integers(0, 64, rows)]).astype(np.float32), label.astype(np.int64)


def _letters(rng: np.random.Generator, rows: int, features: int) -> tuple[Float32, npt.NDArray[np.int64]]:
    pictures = np.random.default_rng(0).random((26, features)) * (np.random.default_rng(1).random((26, features)) < 0.3)
    label = rng.integers(0, 26, rows)
    noise = rng.random((rows, features), np.float32) * (rng.random((rows, features), np.float32) < 0.2)
    return np.clip(pictures[label] * rng.random((rows, 1)) + noise, 0, 1).astype(np.float32), label


def _dense(
    path: Path,
    rows: int,
    features: int,
    make: Callable[[np.random.Generator, int, int], tuple[Float32, npt.NDArray[np.int64]]],
) -> Path:
    if path.exists():
        return path
    rng = np.random.default_rng(3)
    with pq.ParquetWriter(path, _schema(), compression="none", use_dictionary=False) as writer:
        for start in range(0, rows, _BLOCK):
            x, label = make(rng, min(_BLOCK, rows - start), features)
            nothing = pa.nulls(len(x), pa.list_(pa.int32()))
            kind = pa.array(np.ones(len(x), np.int8))
            vectors = pa.StructArray.from_arrays(
                [kind, pa.nulls(len(x), pa.int32()), nothing, _lists(x.astype(np.float64))], fields=list(_VECTOR)
            )
            writer.write_table(_table(vectors, label))
    return path


def _array(path: Path) -> tuple[Float32, npt.NDArray[np.float64]]:
    table = pq.read_table(path)
    values = table["features"].combine_chunks().field("values").flatten().to_numpy()
    return values.reshape(len(table), -1).astype(np.float32), table["label"].to_numpy()


def _schema() -> pa.Schema:
    return pa.schema([("features", _VECTOR), ("label", pa.float64())])


def _table(vectors: pa.StructArray, label: npt.NDArray[np.int64]) -> pa.Table:
    return pa.Table.from_arrays([vectors, pa.array(label.astype(np.float64))], schema=_schema())


def _lists(rows: npt.NDArray[np.float64] | npt.NDArray[np.int32]) -> pa.ListArray:
    return pa.ListArray.from_arrays(
        pa.array(np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int32)), pa.array(rows.reshape(-1))
    )
