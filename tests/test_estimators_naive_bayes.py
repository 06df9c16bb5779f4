"""NaiveBayes on the device answers as stock Spark's: the same parameters of the same classes, the same predictions."""

import numpy as np
import pytest
from pyspark.ml.classification import NaiveBayes, NaiveBayesModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own name for it
from stock_and_ours import PRECISIONS, Case, Fits, agreement, array, fit_case, unset_parameters

pytestmark = pytest.mark.spark
WITHOUT_EFFECT: set[str] = set()


def renamed(frame: DataFrame) -> DataFrame:
    """Other names for the columns, and other types for the numbers."""
    return frame.select(
        F.col("features").alias("x"), F.col("label").cast("int").alias("y"), F.col("weight").cast("float").alias("w")
    )


COLUMNS = {"featuresCol": "x", "labelCol": "y", "weightCol": "w"}
OUTPUTS = {"predictionCol": "p", "probabilityCol": "q", "rawPredictionCol": "r"}
WEIGHTS = {"weightCol": "weight"}
CASES = {
    "multinomial, digits": Case("digits", {}),
    "multinomial, counts": Case("counts", {"smoothing": 0.1, **WEIGHTS}, ragged=True),
    "multinomial, no smoothing": Case("counts", {"smoothing": 0.0}),
    "multinomial, sparse": Case("sparse", {"smoothing": 0.5, **WEIGHTS}, ragged=True),
    "multinomial, columns": Case("counts", {**COLUMNS, **OUTPUTS}, renamed),
    "multinomial, thresholds": Case("digits", {"thresholds": [0.1 + 0.1 * label for label in range(10)]}),
    "complement, digits": Case("digits", {"modelType": "complement", **WEIGHTS}),
    "complement, counts": Case("counts", {"modelType": "complement", "smoothing": 2.0}, ragged=True),
    "complement, sparse": Case("sparse", {"modelType": "complement"}),
    "bernoulli": Case("bits", {"modelType": "bernoulli", "smoothing": 0.25}),
    "bernoulli, weights": Case("bits", {"modelType": "bernoulli", **WEIGHTS}, ragged=True),
    "gaussian, iris": Case("iris", {"modelType": "gaussian"}),
    "gaussian, wine": Case("wine", {"modelType": "gaussian", **WEIGHTS}, ragged=True),
    "gaussian, breast cancer": Case("breast cancer", {"modelType": "gaussian", "thresholds": [0.9, 0.1]}),
    "gaussian, digits": Case("digits", {"modelType": "gaussian"}),
    "gaussian, covtype": Case("covtype", {"modelType": "gaussian", **WEIGHTS}),
    "gaussian, far": Case("far", {"modelType": "gaussian"}, ragged=True),
    "gaussian, scales": Case("scales", {"modelType": "gaussian"}),
    "gaussian, flat": Case("flat", {"modelType": "gaussian", **WEIGHTS}),
    "gaussian, sparse": Case("sparse", {"modelType": "gaussian"}),
    "one class": Case("one class", {"modelType": "gaussian"}),
}


@pytest.fixture(scope="module", params=CASES)
def fits(spark: SparkSession, request: pytest.FixtureRequest) -> Fits[NaiveBayesModel]:
    return fit_case(spark, NaiveBayes, CASES[request.param])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_parameters_are_stocks(fits: Fits[NaiveBayesModel], precision: str) -> None:
    model, stock = fits.ours[precision], fits.stock
    np.testing.assert_allclose(model.pi.toArray(), stock.pi.toArray(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(array(model.theta), array(stock.theta), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(array(model.sigma), array(stock.sigma), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_predictions_are_stocks(fits: Fits[NaiveBayesModel], precision: str) -> None:
    assert agreement(fits.stock, fits.ours[precision], fits.data) >= 0.999


def test_the_model_is_stocks(fits: Fits[NaiveBayesModel]) -> None:
    model, stock = fits.ours["float32"], fits.stock
    assert type(model) is NaiveBayesModel
    assert model._java_obj.getClass().getName() == stock._java_obj.getClass().getName()
    assert (model.numClasses, model.numFeatures) == (stock.numClasses, stock.numFeatures)
    assert model.transform(fits.data).columns == stock.transform(fits.data).columns


def test_every_parameter_of_stock_is_set_by_some_case() -> None:
    assert unset_parameters(NaiveBayes(), CASES, WITHOUT_EFFECT) == set()
