"""LogisticRegression on the device answers as stock Spark's: an objective no worse, the same coefficients, the same
predictions."""

import numpy as np
import pytest
from logistic_objective import Objective
from pyspark.ml.classification import LogisticRegression, LogisticRegressionModel
from pyspark.ml.linalg import Matrices, Vectors
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own name for it
from stock_and_ours import PRECISIONS, Case, Fits, agreement, fit_case, unset_parameters

pytestmark = pytest.mark.spark
COEFFICIENTS = {"float32": 1e-3, "float64": 1e-6}
WITHOUT_EFFECT = {"maxBlockSizeInMB"}  # how stock Spark cuts its rows; it does not show in the model


def two(frame: DataFrame) -> DataFrame:
    """Two classes: the first, and all others."""
    return frame.withColumn("label", (F.col("label") > 0).cast("double"))


def renamed(frame: DataFrame) -> DataFrame:
    """Other names for the columns, and other types for the numbers."""
    return two(frame).select(
        F.col("features").alias("x"), F.col("label").cast("int").alias("y"), F.col("weight").cast("float").alias("w")
    )


def five_classes(frame: DataFrame) -> DataFrame:
    """Metadata that names five classes, of which three are seen."""
    metadata = {"ml_attr": {"type": "nominal", "vals": ["a", "b", "c", "d", "e"], "name": "label"}}
    return frame.withColumn("label", F.col("label").alias("label", metadata=metadata))


COLUMNS = {"featuresCol": "x", "labelCol": "y", "weightCol": "w"}
OUTPUTS = {"predictionCol": "p", "probabilityCol": "q", "rawPredictionCol": "r"}
CASES = {
    "breast cancer": Case("breast cancer", {"regParam": 0.01}),
    "breast cancer, other columns": Case(
        "breast cancer", {"regParam": 0.1, **COLUMNS, **OUTPUTS}, renamed, ragged=True
    ),
    "breast cancer, lasso": Case("breast cancer", {"regParam": 0.1, "elasticNetParam": 1.0, "tol": 1e-8}),
    "breast cancer, no intercept": Case("breast cancer", {"regParam": 0.05, "fitIntercept": False}),
    "iris, as it is": Case("iris", {"regParam": 0.1, "standardization": False}),
    "breast cancer, threshold": Case("breast cancer", {"regParam": 0.1, "threshold": 0.2, "aggregationDepth": 3}),
    "breast cancer, multinomial": Case("breast cancer", {"regParam": 0.05, "family": "multinomial"}),
    "breast cancer, bounds": Case(
        "breast cancer",
        {
            "regParam": 0.1,
            "tol": 1e-10,
            "lowerBoundsOnCoefficients": Matrices.dense(1, 30, [-0.5] * 30),
            "upperBoundsOnCoefficients": Matrices.dense(1, 30, [0.25] * 30),
            "lowerBoundsOnIntercepts": Vectors.dense([-1.0]),
            "upperBoundsOnIntercepts": Vectors.dense([2.0]),
        },
    ),
    "far": Case("far", {"tol": 1e-8, "weightCol": "weight"}, two),
    "scales": Case("scales", {"tol": 1e-8}, two, ragged=True),
    "flat": Case("flat", {"regParam": 0.01}, two),
    "flat, no intercept": Case("flat", {"regParam": 0.01, "fitIntercept": False}, two),
    "sparse": Case("sparse", {"regParam": 0.05, "weightCol": "weight"}, two, ragged=True),
    "digits": Case("digits", {"regParam": 0.05}),
    "digits, elastic net": Case("digits", {"regParam": 0.05, "elasticNetParam": 0.5, "maxIter": 20}),
    "iris, thresholds": Case("iris", {"regParam": 0.01, "thresholds": [0.2, 0.3, 0.5], "weightCol": "weight"}),
    "wine, bounds": Case(
        "wine",
        {"regParam": 0.1, "lowerBoundsOnCoefficients": Matrices.dense(3, 13, [-0.1] * 39)},
    ),
    "covtype": Case("covtype", {"regParam": 1e-3, "weightCol": "weight"}),
    "sparse, three classes": Case("sparse", {"regParam": 0.5, "standardization": False}),
    "classes not seen": Case("far", {"regParam": 0.01}, five_classes),
}


@pytest.fixture(scope="module", params=CASES)
def fits(spark: SparkSession, request: pytest.FixtureRequest) -> Fits[LogisticRegressionModel]:
    return fit_case(spark, LogisticRegression, CASES[request.param])


@pytest.fixture(scope="module")
def objective(fits: Fits[LogisticRegressionModel]) -> Objective:
    return Objective(fits.data, fits.case.params)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_objective_is_no_worse(fits: Fits[LogisticRegressionModel], objective: Objective, precision: str) -> None:
    assert objective(fits.ours[precision]) <= objective(fits.stock) * (1 + 1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_coefficients_are_stocks(fits: Fits[LogisticRegressionModel], objective: Objective, precision: str) -> None:
    found, expected = objective.scaled(fits.ours[precision]), objective.scaled(fits.stock)
    assert np.abs(found - expected).max() <= COEFFICIENTS[precision] * max(1, np.abs(expected).max())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_predictions_are_stocks(fits: Fits[LogisticRegressionModel], precision: str) -> None:
    assert agreement(fits.stock, fits.ours[precision], fits.data) >= 0.999


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_summary_says_what_was_reached(
    fits: Fits[LogisticRegressionModel], objective: Objective, precision: str
) -> None:
    history = fits.ours[precision].summary.objectiveHistory
    assert len(history) == fits.ours[precision].summary.totalIterations + 1
    assert history[-1] == pytest.approx(objective(fits.ours[precision]), rel=1e-6)
    assert history[0] == pytest.approx(fits.stock.summary.objectiveHistory[0], rel=1e-6)


def test_model_and_summary_are_stocks(fits: Fits[LogisticRegressionModel]) -> None:
    model, stock = fits.ours["float32"], fits.stock
    assert type(model) is LogisticRegressionModel
    assert type(model.summary) is type(stock.summary)
    assert model._java_obj.getClass().getName() == stock._java_obj.getClass().getName()
    assert model.summary._java_obj.getClass().getName() == stock.summary._java_obj.getClass().getName()
    assert (model.numClasses, model.numFeatures) == (stock.numClasses, stock.numFeatures)
    assert model.summary.predictions.columns == stock.summary.predictions.columns
    assert model.summary.accuracy == pytest.approx(stock.summary.accuracy, abs=1e-3)


def test_every_parameter_of_stock_is_set_by_some_case() -> None:
    assert unset_parameters(LogisticRegression(), CASES, WITHOUT_EFFECT) == set()
