"""KMeans on the device answers as stock Spark's: same centres to start from, same cost, same clusters."""

from collections.abc import Callable

import numpy as np
import pytest
import training_data
from pyspark.ml.clustering import KMeans, KMeansModel, KMeansSummary
from pyspark.ml.functions import vector_to_array
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own name for it
from stock_and_ours import (
    PRECISIONS,
    Case,
    Fits,
    agreement,
    fit_case,
    on_device,
    ours,
    unset_parameters,
)

pytestmark = pytest.mark.spark
COST = {"float32": 1e-5, "float64": 1e-9}
WITHOUT_EFFECT = {"intermediateStorageLevel"}  # where stock Spark keeps its rows: ours lie in regions


def arrays(element: str) -> Callable[[DataFrame], DataFrame]:
    """Features as an array of numbers rather than a vector."""
    return lambda frame: frame.select(vector_to_array("features", element).alias("features"), "label", "weight")


def renamed(frame: DataFrame) -> DataFrame:
    """Other names for the columns, and another type for the weights."""
    return frame.select(F.col("features").alias("x"), F.col("weight").cast("float").alias("w"))


CASES = {
    "digits": Case("digits", {"k": 10, "seed": 7, "maxIter": 15}),
    "digits, at random": Case("digits", {"k": 10, "seed": 5, "initMode": "random", "maxIter": 15}),
    "digits, cosine": Case("digits", {"k": 10, "seed": 3, "distanceMeasure": "cosine", "maxIter": 10}),
    "iris, to the end": Case("iris", {"k": 3, "seed": 1, "tol": 0.0, "maxIter": 100}),
    "far, coarse": Case("far", {"k": 4, "seed": 1, "tol": 0.1, "weightCol": "weight"}),
    "wine, rows": Case("wine", {"k": 5, "seed": 2, "solver": "row", "initSteps": 5}),
    "wine, blocks": Case("wine", {"k": 5, "seed": 2, "solver": "block", "maxBlockSizeInMB": 0.01, "initSteps": 1}),
    "breast cancer, weights": Case("breast cancer", {"k": 6, "seed": 4, "weightCol": "weight"}, ragged=True),
    "covtype": Case("covtype", {"k": 8, "seed": 9, "maxIter": 10}),
    "sparse": Case("sparse", {"k": 4, "seed": 6, "maxIter": 10}),
    "sparse, cosine": Case("sparse", {"k": 3, "seed": 8, "distanceMeasure": "cosine"}, ragged=True),
    "far": Case("far", {"k": 3, "seed": 2, "maxIter": 10}),
    "scales": Case("scales", {"k": 4, "seed": 2, "maxIter": 10}, ragged=True),
    "clock": Case("clock", {"k": 6, "seed": 2, "maxIter": 50}),
    "epoch": Case("epoch", {"k": 3, "seed": 2}),
    "flat": Case("flat", {"k": 3, "seed": 2, "featuresCol": "x", "weightCol": "w", "predictionCol": "c"}, renamed),
    "arrays of double": Case("wine", {"k": 3, "seed": 4}, arrays("float64")),
    "arrays of float": Case("iris", {"k": 3, "seed": 4}, arrays("float32")),
    "fewer points than clusters": Case("few points", {"k": 9, "seed": 3}),
    "fewer points, at random": Case("few points", {"k": 4, "seed": 3, "initMode": "random"}),
}


@pytest.fixture(scope="module", params=CASES)
def fits(spark: SparkSession, request: pytest.FixtureRequest) -> Fits[KMeansModel]:
    return fit_case(spark, KMeans, CASES[request.param])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_cost_is_stocks(fits: Fits[KMeansModel], precision: str) -> None:
    cost, expected = fits.ours[precision].summary.trainingCost, fits.stock.summary.trainingCost
    assert abs(cost - expected) <= COST[precision] * expected


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_are_in_the_same_clusters(fits: Fits[KMeansModel], precision: str) -> None:
    assert agreement(fits.stock, fits.ours[precision], fits.data) >= 0.999


@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_takes_as_many_iterations(fits: Fits[KMeansModel], precision: str) -> None:
    assert fits.ours[precision].summary.numIter == fits.stock.summary.numIter


def test_clusters_are_as_large(fits: Fits[KMeansModel]) -> None:
    assert fits.ours["float64"].summary.clusterSizes == fits.stock.summary.clusterSizes


def test_model_and_summary_are_stocks(fits: Fits[KMeansModel]) -> None:
    model, stock = fits.ours["float32"], fits.stock
    assert type(model) is KMeansModel
    assert type(model.summary) is KMeansSummary
    assert model._java_obj.getClass().getName() == stock._java_obj.getClass().getName()
    assert model.summary._java_obj.getClass().getName() == stock.summary._java_obj.getClass().getName()
    assert set(model.summary.predictions.columns) == set(stock.summary.predictions.columns)


INITIAL = {
    "parallel": Case("digits", {"k": 12, "seed": 21}),
    "parallel, other partitions": Case("digits", {"k": 12, "seed": 21, "initSteps": 4}, ragged=True),
    "parallel, weights": Case("covtype", {"k": 9, "seed": 22, "weightCol": "weight"}),
    "parallel, sparse": Case("sparse", {"k": 9, "seed": 23}),
    "parallel, cosine": Case("wine", {"k": 7, "seed": 24, "distanceMeasure": "cosine"}, ragged=True),
    "parallel, cosine, rows": Case("wine", {"k": 7, "seed": 29, "distanceMeasure": "cosine", "solver": "row"}),
    "parallel, cosine, sparse": Case("sparse", {"k": 5, "seed": 30, "distanceMeasure": "cosine"}),
    "parallel, few points": Case("few points", {"k": 9, "seed": 25}, ragged=True),
    "random": Case("far", {"k": 9, "seed": 26, "initMode": "random"}),
    "random, cosine": Case("iris", {"k": 9, "seed": 27, "initMode": "random", "distanceMeasure": "cosine"}),
    "random, few points": Case("few points", {"k": 9, "seed": 28, "initMode": "random"}, ragged=True),
    "no seed": Case("wine", {"k": 5}),
}


@pytest.mark.parametrize("name", INITIAL)
def test_initial_centres_are_stocks(spark: SparkSession, name: str) -> None:
    case = INITIAL[name]
    estimator = KMeans(maxIter=0, **case.params)
    data = case.frame(spark)
    with on_device(spark, "float64"):
        centres = ours(estimator).fit(data).clusterCenters()
    assert np.array_equal(centres, estimator.fit(data).clusterCenters())


def test_another_seed_gives_other_centres(spark: SparkSession) -> None:
    data = Case("digits").frame(spark)
    with on_device(spark):
        found = [ours(KMeans(k=5, seed=seed, maxIter=0)).fit(data).clusterCenters() for seed in (1, 2)]
    assert not np.array_equal(*found)


@pytest.mark.parametrize("mode", ["k-means||", "random"])
def test_equal_rows_are_one_centre_whatever_is_beside_them_in_their_partitions(spark: SparkSession, mode: str) -> None:
    corners = np.random.default_rng(3).integers(0, 2, (600, 2))
    data = training_data.frame(spark, [(Vectors.dense(row), 0.0, 1.0) for row in corners])
    estimator = KMeans(k=9, seed=1, initMode=mode)
    with on_device(spark, "float32"):
        found = ours(estimator).fit(data).clusterCenters()
    np.testing.assert_allclose(found, estimator.fit(data).clusterCenters(), atol=1e-6)


def test_where_rows_of_whole_numbers_are_equally_far_from_centres_float32_chooses_as_stock(spark: SparkSession) -> None:
    grid = np.random.default_rng(4).integers(0, 5, (600, 2))
    data = training_data.frame(spark, [(Vectors.dense(row), 0.0, 1.0) for row in grid])
    for seed in range(3):
        estimator = KMeans(k=8, seed=seed, maxIter=3)
        with on_device(spark, "float32"):
            found = ours(estimator).fit(data)
        assert found.summary.trainingCost == pytest.approx(estimator.fit(data).summary.trainingCost, rel=1e-9)


def test_every_parameter_of_stock_is_set_by_some_case() -> None:
    assert unset_parameters(KMeans(), {**CASES, **INITIAL}, WITHOUT_EFFECT) == set()
