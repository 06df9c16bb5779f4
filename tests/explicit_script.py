"""A script that asks for the accelerated estimators by name. Its steps are run and counted as the stock script's."""

from pyspark.ml import Pipeline, classification, clustering
from pyspark.sql import SparkSession, is_remote
from stock_script import rows

from spark_accel.ml.classification import LogisticRegression, NaiveBayes
from spark_accel.ml.clustering import KMeans


def fit(spark: SparkSession, _: str) -> None:
    estimators = [
        KMeans(k=3, seed=1, maxIter=2).setTol(0.1),
        LogisticRegression(maxIter=2, thresholds=[0.2, 0.3, 0.5]),
        NaiveBayes(modelType="gaussian"),
    ]
    stock = (clustering.KMeans, classification.LogisticRegression, classification.NaiveBayes)
    models = (clustering.KMeansModel, classification.LogisticRegressionModel, classification.NaiveBayesModel)
    for estimator, kind, model in zip(estimators, stock, models, strict=True):
        assert isinstance(estimator, kind)
        assert type(estimator.fit(rows(spark))) is model


def fit_copy(spark: SparkSession, _: str) -> None:
    kmeans = KMeans(seed=1, maxIter=2)
    copy = kmeans.copy({kmeans.k: 4})
    assert type(copy) is KMeans
    assert len(copy.fit(rows(spark)).clusterCenters()) == 4


def save(spark: SparkSession, folder: str) -> None:
    assert spark
    pipeline = Pipeline(stages=[KMeans(k=3, seed=1, maxIter=2)])
    for name, estimator in (("kmeans", KMeans(k=3, maxIter=2)), ("pipeline", pipeline)):
        estimator.write().overwrite().save(f"{folder}/{name}")


def load_own(spark: SparkSession, folder: str) -> None:
    loaded = KMeans.load(f"{folder}/kmeans")
    assert type(loaded) is KMeans
    assert loaded.getK() == 3
    assert len(loaded.fit(rows(spark)).clusterCenters()) == 3


def load_as_stock(spark: SparkSession, folder: str) -> None:
    assert type(clustering.KMeans.load(f"{folder}/kmeans")) is clustering.KMeans
    (kmeans,) = Pipeline.load(f"{folder}/pipeline").getStages()
    assert type(kmeans) is clustering.KMeans
    kmeans.fit(rows(spark))


def load_what_stock_saved(spark: SparkSession, folder: str) -> None:
    assert spark
    clustering.KMeans(k=2, seed=7).write().overwrite().save(f"{folder}/stock")
    loaded = KMeans.load(f"{folder}/stock")
    assert (type(loaded), loaded.getK(), loaded.getSeed()) == (KMeans, 2, 7)
    if not is_remote():
        assert loaded.uid == loaded._java_obj.uid()


STEPS = [fit, fit_copy, save, load_own, load_as_stock, load_what_stock_saved]
