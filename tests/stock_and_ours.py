"""Stock Spark's estimators and ours side by side, in one session, on the same rows.

Ours are asked to fail rather than to leave the work to stock Spark: what is compared with stock's is the device's.
"""

import functools
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pytest
import training_data
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.ml.classification import LogisticRegressionModel
from pyspark.ml.clustering import KMeansModel
from pyspark.ml.linalg import Matrix
from pyspark.ml.wrapper import JavaEstimator, JavaModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own name for it
from spark_sessions import setting

PRECISIONS = ("float32", "float64")
M = TypeVar("M")


@dataclass(frozen=True)
class Case:
    """A table of training_data and an estimator's parameters; `data` makes other columns of the table's DataFrame."""

    table: str
    params: Mapping[str, Any] = field(default_factory=dict)
    data: Callable[[DataFrame], DataFrame] = lambda frame: frame
    ragged: bool = False

    def frame(self, spark: SparkSession) -> DataFrame:
        return self.data(_frame(spark, self.table, self.ragged))


@dataclass(frozen=True)
class Fits(Generic[M]):
    """What stock Spark made of a case, and ours by precision."""

    case: Case
    data: DataFrame
    stock: M
    ours: Mapping[str, M]

    @property
    def table(self) -> training_data.Table:
        return training_data.table(self.case.table)


@functools.cache
def _frame(spark: SparkSession, table: str, ragged: bool) -> DataFrame:
    rows = training_data.table(table).rows()
    return training_data.frame(spark, rows, training_data.ragged(len(rows)) if ragged else None)


def ours(estimator: JavaEstimator) -> JavaEstimator:
    """A stock PySpark estimator with our JVM class behind it; its parameters as they are."""
    made = estimator.copy()
    name = type(estimator).__name__
    made._java_obj = made._new_java_obj(f"org.apache.spark.ml.accel.{name}", made.uid)
    return made


def on_device(spark: SparkSession, precision: str = "float64") -> AbstractContextManager[None]:
    """A context manager in which ours compute in `precision`, and fail where the device can't do it."""
    return setting(spark, {"spark.accel.ml.precision": precision, "spark.accel.fallback": "error"})


def fit_case(spark: SparkSession, estimator: Callable[..., JavaEstimator], case: Case) -> Fits[JavaModel]:
    """Fits a case by stock Spark and, in each precision, by ours."""
    data = case.frame(spark)
    made = {}
    for precision in PRECISIONS:
        with on_device(spark, precision):
            made[precision] = ours(estimator(**case.params)).fit(data)
    return Fits(case, data, estimator(**case.params).fit(data), made)


def agreement(one: JavaModel, other: JavaModel, data: DataFrame) -> float:
    """The share of rows for which two models predict the same."""
    columns = [F.col(name) for name in data.columns]
    first = one.transform(data).select(*columns, F.col(one.getPredictionCol()).alias("expected"))
    both = other.transform(first)
    same = F.avg((F.col("expected") == F.col(other.getPredictionCol())).cast("double"))
    return float(both.select(same).first()[0])


def refusal(fit: Callable[[], object]) -> tuple[str, str]:
    """Type and text of what `fit` raises, without what differs between two runs of the same thing: the places in the
    code, the numbers of stages and tasks."""
    with pytest.raises((PySparkException, Py4JJavaError)) as raised:
        fit()
    error = raised.value
    text = error.java_exception.toString() if isinstance(error, Py4JJavaError) else str(error)
    lines = [line for line in text.splitlines() if not re.match(r"\s+at |\s+\.\.\. ", line)]
    text = re.sub(r"\bstage \d+\.\d+|\btask \d+\.\d+|\bTID \d+|\bTask \d+|executor \w+", "#", "\n".join(lines))
    return type(error).__name__, text


def unset_parameters(estimator: JavaEstimator, cases: Mapping[str, Case], without_effect: set[str]) -> set[str]:
    """The parameters of stock's estimator, as its JVM class has them, that no case sets and no name in `without_effect`
    excuses."""
    names = {parameter.name() for parameter in estimator._java_obj.params()}
    return names - {name for case in cases.values() for name in case.params} - without_effect


def array(matrix: Matrix) -> npt.NDArray[np.float64]:
    """A matrix of a model as numpy has it."""
    return np.asarray(matrix.toArray())


def numbers(model: JavaModel) -> list[npt.NDArray[np.float64]]:
    """All numbers that a model has learnt."""
    if isinstance(model, KMeansModel):
        return [np.array(model.clusterCenters()), np.array([model.summary.trainingCost])]
    if isinstance(model, LogisticRegressionModel):
        history = np.array(model.summary.objectiveHistory)
        return [array(model.coefficientMatrix), model.interceptVector.toArray(), history]
    return [model.pi.toArray(), array(model.theta), array(model.sigma)]


def bits(model: JavaModel) -> list[bytes]:
    """All that a model has learnt, bit by bit."""
    return [found.tobytes() for found in numbers(model)]


def accelerated(spark: SparkSession, estimator: JavaEstimator) -> int:
    """How many fits of such an estimator the device has done in this session."""
    counts = spark._jvm.org.apache.spark.ml.accel.FitCounters.snapshot()
    return counts.get(f"accelerated.{type(estimator).__name__}") or 0
