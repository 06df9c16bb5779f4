"""What stock Spark refuses, ours refuse in the same words; and where stock trains nevertheless, ours do as it does."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import training_data
from pyspark.ml.classification import LogisticRegression, NaiveBayes
from pyspark.ml.clustering import KMeans
from pyspark.ml.linalg import Matrices, Vectors
from pyspark.ml.wrapper import JavaEstimator
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own name for it
from spark_sessions import setting
from stock_and_ours import numbers, on_device, ours, refusal

pytestmark = pytest.mark.spark
NAN, INFINITY = float("nan"), float("inf")
VECTOR = Vectors.dense([1.0, 2.0, 3.0])
Row = tuple[Any, Any, Any]  # features, label, weight
Estimator = Callable[[], JavaEstimator]
Attempt = tuple[Estimator, list[Row]]


def good(labels: int = 2) -> list[Row]:
    """Twelve rows of three features that all estimators take, the Bernoulli one too."""
    x = np.random.default_rng(8).integers(0, 2, (12, 3))
    x[:, 2] |= 1 - x.max(axis=1)  # the cosine distance knows no zeros
    return [(Vectors.dense(row), float(i % labels), 1.0) for i, row in enumerate(x)]


def after(features: object, label: object = 1.0, weight: object = 1.0) -> list[Row]:
    """Good rows and, behind them, this one."""
    return [*good(), (features, label, weight)]


def naive_bayes(kind: str) -> Estimator:
    return partial(NaiveBayes, modelType=kind, weightCol="weight")


KMEANS = partial(KMeans, k=2, seed=1, weightCol="weight")
COSINE = partial(KMeans, k=2, seed=1, distanceMeasure="cosine")
LOGISTIC = partial(LogisticRegression, weightCol="weight")
BOUNDS = {"lowerBoundsOnCoefficients": Matrices.dense(1, 2, [0, 0])}
WEIGHTED = {"KMeans": KMEANS, "LogisticRegression": LOGISTIC, "NaiveBayes": naive_bayes("multinomial")}
CLASSIFIERS = {"LogisticRegression": LOGISTIC, "NaiveBayes": naive_bayes("gaussian")}
EVERY = {**WEIGHTED, **{kind: naive_bayes(kind) for kind in ("complement", "bernoulli", "gaussian")}}
FEATURES = {
    "NaN": Vectors.dense([1.0, NAN, 0.0]),
    "sparse infinity": Vectors.sparse(3, [1], [INFINITY]),
    "null": None,
    "another length": Vectors.dense([1.0, 0.0]),
}
LABELS = {"half": 1.5, "negative": -1.0, "NaN": NAN, "null": None, "infinite": INFINITY}
WEIGHTS = {"negative": -0.5, "NaN": NAN, "infinite": INFINITY, "null": None}
REFUSED: dict[str, Attempt] = {
    **{f"{name}, features {bad}": (EVERY[name], after(x)) for name in EVERY for bad, x in FEATURES.items()},
    **{
        f"{name}, label {bad}": (CLASSIFIERS[name], after(VECTOR, y))
        for name in CLASSIFIERS
        for bad, y in LABELS.items()
    },
    **{
        f"{name}, weight {bad}": (WEIGHTED[name], after(VECTOR, 1.0, w))
        for name in WEIGHTED
        for bad, w in WEIGHTS.items()
    },
    "multinomial, negative": (naive_bayes("multinomial"), after(Vectors.dense([1.0, -2.0, 3.0]))),
    "complement, negative": (naive_bayes("complement"), after(Vectors.sparse(3, [2], [-1e-9]))),
    "bernoulli, two": (naive_bayes("bernoulli"), after(Vectors.dense([1.0, 0.0, 2.0]))),
    "cosine, zero": (COSINE, after(Vectors.dense([0.0, 0.0, 0.0]))),
    "cosine, sparse zero": (COSINE, after(Vectors.sparse(3, [], []))),
    "binomial, three classes": (partial(LogisticRegression, family="binomial"), good(3)),
    "thresholds for other classes": (partial(LogisticRegression, thresholds=[0.2, 0.3, 0.5]), good(2)),
    "label beyond the thresholds": (partial(NaiveBayes, thresholds=[0.5, 0.5]), good(3)),
    "bounds of another shape": (partial(LogisticRegression, **BOUNDS), good()),
    "bounds and lasso": (partial(LogisticRegression, **BOUNDS, regParam=0.1, elasticNetParam=1.0), good()),
    "bounds that cross": (
        partial(
            LogisticRegression,
            lowerBoundsOnIntercepts=Vectors.dense([1.0]),
            upperBoundsOnIntercepts=Vectors.dense([0.0]),
        ),
        good(),
    ),
    "no such column": (partial(KMeans, featuresCol="absent"), good()),
    "no rows": (LOGISTIC, []),
    "no rows, KMeans": (KMEANS, []),
    "no rows, NaiveBayes": (naive_bayes("multinomial"), []),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_stock_refuses_ours_refuse_word_for_word(spark: SparkSession, name: str) -> None:
    make, rows = REFUSED[name]
    estimator = make()
    data = training_data.frame(spark, rows, [len(rows)])
    with on_device(spark):
        found = refusal(lambda: ours(estimator).fit(data))
    assert found == refusal(lambda: estimator.fit(data))


def test_fewer_classes_in_the_metadata_than_seen_are_refused_word_for_word(spark: SparkSession) -> None:
    metadata = {"ml_attr": {"type": "nominal", "vals": ["a", "b"], "name": "label"}}
    data = training_data.frame(spark, good(3)).withColumn("label", F.col("label").alias("label", metadata=metadata))
    with on_device(spark):
        found = refusal(lambda: ours(LOGISTIC()).fit(data))
    assert found == refusal(lambda: LOGISTIC().fit(data))


def relabelled(*labels: float) -> list[Row]:
    """Good rows with these labels in turn."""
    return [(x, labels[i % len(labels)], weight) for i, (x, _, weight) in enumerate(good())]


TRAINED: dict[str, Attempt] = {
    "only ones": (LOGISTIC, relabelled(1.0)),
    "only zeros": (LOGISTIC, relabelled(0.0)),
    "only threes": (LOGISTIC, relabelled(3.0)),
    "only ones, multinomial": (partial(LogisticRegression, family="multinomial"), relabelled(1.0)),
    "only ones, no intercept": (partial(LogisticRegression, fitIntercept=False, regParam=0.1), relabelled(1.0)),
    "a class without rows": (partial(LogisticRegression, regParam=0.1), relabelled(0.0, 2.0)),
    "features of zeros": (LogisticRegression, [(Vectors.sparse(3, [], []), y, w) for _, y, w in good()]),
    "one class": (naive_bayes("multinomial"), relabelled(2.0)),
    "classes with gaps": (naive_bayes("gaussian"), relabelled(1.0, 7.0)),
    "one row": (NaiveBayes, good()[:1]),
    "equal rows": (KMEANS, [(VECTOR, 0.0, 1.0)] * 20),
}


@pytest.mark.parametrize("name", TRAINED)
def test_what_stock_trains_on_ours_train_on_alike(spark: SparkSession, name: str) -> None:
    make, rows = TRAINED[name]
    estimator = make()
    data = training_data.frame(spark, rows)
    with on_device(spark):
        found = ours(estimator).fit(data)
    for one, other in zip(numbers(found), numbers(estimator.fit(data)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def unweighted(label: float) -> list[Row]:
    """Good rows, and behind them one of weight 0 with this label."""
    return after(VECTOR, label, 0.0)


LEFT: dict[str, Attempt] = {
    "the last class without weight": (LOGISTIC, unweighted(2.0)),
    "a class without weight": (naive_bayes("multinomial"), unweighted(2.0)),
    "a class without weight, gaussian": (naive_bayes("gaussian"), unweighted(2.0)),
    "squares beyond float64": (KMEANS, [(Vectors.dense(x.toArray() * 1e200), y, 1.0) for x, y, _ in good()]),
    "sums beyond float64": (naive_bayes("gaussian"), [(x, y, 1e300) for x, y, _ in good()]),
    "weights near the least number": (LOGISTIC, [(x, y, 1e-300) for x, y, _ in good()]),
    "no weight at all": (KMEANS, [(x, y, 0.0) for x, y, _ in good()]),
}


@pytest.mark.parametrize("name", LEFT)
def test_where_stock_may_have_to_train_the_outcome_is_stocks(spark: SparkSession, name: str) -> None:
    make, rows = LEFT[name]
    data = training_data.frame(spark, rows)

    def outcome(trainer: JavaEstimator) -> object:
        try:
            return [found.round(6).tolist() for found in numbers(trainer.fit(data))]
        except Exception:
            return refusal(lambda: trainer.fit(data))

    with setting(spark, {"spark.accel.ml.precision": "float64", "spark.accel.fallback": "cpu"}):
        assert repr(outcome(ours(make()))) == repr(outcome(make()))  # as text: NaN equals NaN


def test_where_no_feature_varies_gaussian_bayes_has_stocks_probabilities(spark: SparkSession) -> None:
    rows = [(VECTOR, float(i % 2), 1.0) for i in range(12)]
    data = training_data.frame(spark, rows)
    estimator = NaiveBayes(modelType="gaussian")

    with setting(spark, {"spark.accel.fallback": "cpu"}):
        found = ours(estimator).fit(data).predictProbability(VECTOR)

    np.testing.assert_allclose(found, estimator.fit(data).predictProbability(VECTOR))
