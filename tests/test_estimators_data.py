"""How rows lie in partitions, equal bits, copies, lists of parameters, saving and loading: the same for all three."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import training_data
from pyspark.ml.classification import LogisticRegression, LogisticRegressionModel, NaiveBayes, NaiveBayesModel
from pyspark.ml.clustering import KMeans, KMeansModel
from pyspark.ml.linalg import Vectors
from pyspark.ml.wrapper import JavaEstimator, JavaModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own name for it
from stock_and_ours import PRECISIONS, accelerated, bits, numbers, on_device, ours

pytestmark = pytest.mark.spark
TRAINERS: dict[str, Callable[..., JavaEstimator]] = {
    "KMeans": partial(KMeans, k=4, seed=3, maxIter=8, weightCol="weight"),
    "LogisticRegression": partial(LogisticRegression, regParam=0.05, maxIter=30, weightCol="weight"),
    "NaiveBayes": partial(NaiveBayes, modelType="gaussian", weightCol="weight"),
}
MODELS = {"KMeans": KMeansModel, "LogisticRegression": LogisticRegressionModel, "NaiveBayes": NaiveBayesModel}
SIZES = [300, 1, 0, 700, 40, 150, 1, 9, 220, 0, 60, 19]  # 1500 rows, so that some tasks take much longer than others


def trainers() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", TRAINERS)


def dense_row(values: np.ndarray) -> object:
    return Vectors.dense(values)


def sparse_row(values: np.ndarray) -> object:
    at = np.flatnonzero(values)
    return Vectors.sparse(len(values), at.tolist(), values[at].tolist())


def few_non_zero(rows: int, seed: int) -> np.ndarray:
    """[rows, 30], positive numbers among many zeros."""
    rng = np.random.default_rng(seed)
    return rng.random((rows, 30)) * (rng.random((rows, 30)) < 0.07)


@pytest.fixture(scope="module")
def uneven(spark: SparkSession) -> DataFrame:
    return training_data.frame(spark, training_data.table("far").rows(), SIZES)


@trainers()
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_same_fit_gives_the_same_bits(spark: SparkSession, uneven: DataFrame, name: str, precision: str) -> None:
    # Fits that run at once take turns in every other order.
    with on_device(spark, precision), ThreadPoolExecutor(4) as threads:
        alone = ours(TRAINERS[name]()).fit(uneven)
        others = list(threads.map(lambda _: ours(TRAINERS[name]()).fit(uneven), range(4)))
    assert [bits(other) == bits(alone) for other in others] == [True] * 4


LAYOUTS: dict[str, Callable[[], tuple[list[tuple[object, ...]], list[int]]]] = {}


def layout(make: Callable[[], tuple[list[tuple[object, ...]], list[int]]]) -> Callable[..., object]:
    """Names a function that makes rows and the sizes of their partitions."""
    LAYOUTS[make.__name__.replace("_", " ")] = make
    return make


@layout
def one_row_a_partition() -> tuple[list[tuple[object, ...]], list[int]]:
    return training_data.table("iris").rows()[:12], [1] * 12


@layout
def more_partitions_than_rows() -> tuple[list[tuple[object, ...]], list[int]]:
    return training_data.table("iris").rows()[:9], [0, 2, 0, 0, 3, 1, 0, 2, 0, 1, 0]


@layout
def dense_and_sparse_vectors_in_turn() -> tuple[list[tuple[object, ...]], list[int]]:
    x = few_non_zero(200, 1) + np.outer(np.arange(200) % 3, np.arange(30) == 4)
    rows = [((dense_row, sparse_row)[i % 2](row), float(i % 3), 1.0) for i, row in enumerate(x)]
    return rows, [80, 0, 120]


@layout
def dense_partitions_beside_sparse_ones() -> tuple[list[tuple[object, ...]], list[int]]:
    full = np.random.default_rng(2).random((120, 30))
    rows = [(dense_row(row), float(i % 3), 1.0 + i % 2) for i, row in enumerate(full)]
    rows += [(sparse_row(row), float(i % 3), 0.5) for i, row in enumerate(few_non_zero(180, 3))]
    return rows, [60, 60, 90, 90]


@layout
def sparse_rows_without_elements() -> tuple[list[tuple[object, ...]], list[int]]:
    x = few_non_zero(90, 4)
    x[30:60] = 0
    return [(sparse_row(row), float(i % 3), 1.0) for i, row in enumerate(x)], [30, 30, 30]


@layout
def a_partition_without_weight() -> tuple[list[tuple[object, ...]], list[int]]:
    rows = [(x, y, 0.0 if i < 50 else 1.0) for i, (x, y, _) in enumerate(training_data.table("iris").rows())]
    return rows, [50, 60, 40]


@layout
def partitions_that_start_far_from_their_mean() -> tuple[list[tuple[object, ...]], list[int]]:
    x, y = training_data.table("far").x[:600].copy(), training_data.table("far").y[:600]
    x[:300] -= 1e4 * (np.arange(300) > 280)[:, None]  # the first rows don't tell where the last ones are
    x[300:] *= 1000
    return [(dense_row(row), float(label), 1.0) for row, label in zip(x, y, strict=True)], [300, 300]


@trainers()
@pytest.mark.parametrize("rows", LAYOUTS)
def test_wherever_rows_lie_the_model_is_stocks(spark: SparkSession, rows: str, name: str) -> None:
    data = training_data.frame(spark, *LAYOUTS[rows]())
    stock = numbers(TRAINERS[name]().fit(data))
    for precision, tolerance in (("float64", 1e-6), ("float32", 1e-3)):
        with on_device(spark, precision):
            found = numbers(ours(TRAINERS[name]()).fit(data))
        for one, other in zip(found[:2], stock[:2], strict=True):
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * np.abs(other).max())


@pytest.mark.parametrize("name", ["LogisticRegression", "NaiveBayes"])
@pytest.mark.parametrize("features", ["FEATURES", "s.x", "`a.b`"])
def test_columns_are_found_as_spark_finds_them(
    spark: SparkSession, uneven: DataFrame, features: str, name: str
) -> None:
    data = uneven.withColumn("s", F.struct(F.col("features").alias("x"))).withColumn("a.b", F.col("features"))
    estimator = TRAINERS[name](featuresCol=features)
    with on_device(spark):
        found = numbers(ours(estimator).fit(data))
    np.testing.assert_allclose(found[0], numbers(estimator.fit(data))[0], rtol=1e-6)


@trainers()
@pytest.mark.usefixtures("spark")
def test_copies_are_ours(name: str) -> None:
    copied = ours(TRAINERS[name]()).copy()
    assert copied._java_obj.getClass().getName() == f"org.apache.spark.ml.accel.{name}"
    assert type(copied) is type(TRAINERS[name]())


PARAMETER_MAPS: dict[str, list[dict[str, object]]] = {
    "KMeans": [{"k": 2}, {"k": 5, "initMode": "random"}],
    "LogisticRegression": [{"regParam": 0.5}, {"regParam": 0.2, "elasticNetParam": 0.5}],
    "NaiveBayes": [{"modelType": "multinomial"}, {"smoothing": 2.0, "modelType": "complement"}],
}


@trainers()
def test_a_list_of_parameters_gives_a_model_each(spark: SparkSession, uneven: DataFrame, name: str) -> None:
    trainer = TRAINERS[name]()
    maps = [{trainer.getParam(key): value for key, value in one.items()} for one in PARAMETER_MAPS[name]]
    with on_device(spark):
        before = accelerated(spark, trainer)
        models = ours(trainer).fit(uneven, maps)
        assert accelerated(spark, trainer) == before + len(maps)
        alone = [ours(trainer.copy(one)).fit(uneven) for one in maps]
        multiple = dict(ours(trainer).fitMultiple(uneven, maps))
    assert [bits(model) for model in models] == [bits(model) for model in alone]
    assert [bits(multiple[index]) for index in range(len(maps))] == [bits(model) for model in alone]
    for model, one in zip(models, maps, strict=True):
        assert all(model.getOrDefault(parameter.name) == value for parameter, value in one.items())


@trainers()
@pytest.mark.usefixtures("spark")
def test_stock_loads_an_estimator_that_ours_saved(name: str, tmp_path: Path) -> None:
    trainer = TRAINERS[name]()
    ours(trainer).save(f"{tmp_path}/ours")
    loaded = type(trainer).load(f"{tmp_path}/ours")
    assert loaded._java_obj.getClass().getName() == trainer._java_obj.getClass().getName()
    assert parameters(loaded) == parameters(trainer)
    assert loaded.uid == trainer.uid


@trainers()
def test_ours_trains_an_estimator_that_stock_saved(
    spark: SparkSession, uneven: DataFrame, name: str, tmp_path: Path
) -> None:
    trainer = TRAINERS[name]()
    trainer.save(f"{tmp_path}/stock")
    with on_device(spark):
        loaded = ours(type(trainer).load(f"{tmp_path}/stock")).fit(uneven)
        assert bits(loaded) == bits(ours(trainer).fit(uneven))


@trainers()
def test_a_model_of_ours_is_saved_and_loaded_as_stocks(
    spark: SparkSession, uneven: DataFrame, name: str, tmp_path: Path
) -> None:
    with on_device(spark):
        model = ours(TRAINERS[name]()).fit(uneven)
    model.save(f"{tmp_path}/model")
    loaded = MODELS[name].load(f"{tmp_path}/model")
    assert parameters(loaded) == parameters(model)
    assert predictions(loaded, uneven) == predictions(model, uneven)


def parameters(params: JavaEstimator | JavaModel) -> dict[str, object]:
    """Set and default parameters by name."""
    return {parameter.name: value for parameter, value in params.extractParamMap().items()}


def predictions(model: JavaModel, data: DataFrame) -> list[float]:
    return [row.prediction for row in model.transform(data).select("prediction").collect()]
