"""A script as users have it, with PySpark and nothing else: estimators, alone and in all that is made of estimators.

Each step takes a session and a folder of its own. `save` and `load…` are a pair, perhaps in different sessions.
`python stock_script.py FOLDER` runs them all.
"""

import sys
from collections.abc import Callable

from pyspark.ml import Estimator, Pipeline
from pyspark.ml.classification import (
    LogisticRegression,
    LogisticRegressionModel,
    NaiveBayes,
    NaiveBayesModel,
    OneVsRest,
)
from pyspark.ml.clustering import KMeans, KMeansModel
from pyspark.ml.evaluation import ClusteringEvaluator, MulticlassClassificationEvaluator
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder, TrainValidationSplit
from pyspark.sql import DataFrame, SparkSession


def rows(spark: SparkSession) -> DataFrame:
    """Three heaps of twenty points on a line, labelled 0, 1 and 2."""
    points = [(float(heap), 10.0 * heap + number / 20, float(heap % 2)) for heap in range(3) for number in range(20)]
    frame = spark.createDataFrame(points, ["label", "x", "y"])
    return VectorAssembler(inputCols=["x", "y"], outputCol="features").transform(frame)


def cross_validator(parallelism: int) -> CrossValidator:
    logistic = LogisticRegression(maxIter=2)
    grid = ParamGridBuilder().addGrid(logistic.regParam, [0.1, 0.01]).build()
    evaluator = MulticlassClassificationEvaluator()
    return CrossValidator(
        estimator=logistic,
        estimatorParamMaps=grid,
        evaluator=evaluator,
        numFolds=2,
        seed=1,
        parallelism=parallelism,
    )


def split() -> TrainValidationSplit:
    kmeans = KMeans(seed=1, maxIter=2)
    grid = ParamGridBuilder().addGrid(kmeans.k, [2, 3]).build()
    return TrainValidationSplit(estimator=kmeans, estimatorParamMaps=grid, evaluator=ClusteringEvaluator(), seed=1)


def pipeline() -> Pipeline:
    both = VectorAssembler(inputCols=["features", "y"], outputCol="both")
    inner = Pipeline(stages=[both, KMeans(k=3, seed=1, featuresCol="both", predictionCol="cluster", maxIter=2)])
    return Pipeline(stages=[inner, LogisticRegression(maxIter=2, featuresCol="both")])


def one_vs_rest() -> OneVsRest:
    return OneVsRest(classifier=LogisticRegression(maxIter=2))


def fit(spark: SparkSession, folder: str) -> None:
    frame = rows(spark)
    clusters = KMeans(k=3, seed=1).fit(frame)
    assert type(clusters) is KMeansModel
    assert clusters.summary.clusterSizes == [20, 20, 20]
    # With a shuffle before it: the jobs of stages, and of the summary, want slots, and `local` has but one.
    logistic = LogisticRegression(regParam=0.01, maxIter=50).fit(frame.repartition(2))
    assert type(logistic) is LogisticRegressionModel
    assert logistic.summary.accuracy == 1
    bayes = NaiveBayes(modelType="gaussian").fit(frame)
    assert type(bayes) is NaiveBayesModel
    assert bayes.transform(frame).where("prediction = label").count() == 60
    for name, model in (("kmeans", clusters), ("logistic", logistic), ("bayes", bayes)):
        model.write().overwrite().save(f"{folder}/model/{name}")


def fit_with_parameters(spark: SparkSession, _: str) -> None:
    kmeans = KMeans(seed=1, maxIter=2)
    cosine = {kmeans.k: 2, kmeans.distanceMeasure: "cosine"}
    models = [kmeans.fit(rows(spark).where("x > 0"), cosine), *kmeans.fit(rows(spark), [{kmeans.k: 2}, {kmeans.k: 3}])]
    models.append(kmeans.copy({kmeans.k: 3}).fit(rows(spark)))
    assert [len(model.clusterCenters()) for model in models] == [2, 2, 3, 3]


def fit_pipeline(spark: SparkSession, _: str) -> None:
    assert "cluster" in pipeline().fit(rows(spark)).transform(rows(spark)).columns


def fit_cross_validator(spark: SparkSession, _: str) -> None:
    for parallelism in (1, 2):
        assert cross_validator(parallelism).fit(rows(spark)).bestModel.numClasses == 3


def fit_split(spark: SparkSession, _: str) -> None:
    assert type(split().fit(rows(spark)).bestModel) is KMeansModel


def fit_one_vs_rest(spark: SparkSession, _: str) -> None:
    assert len(one_vs_rest().fit(rows(spark)).models) == 3


def save(spark: SparkSession, folder: str) -> None:
    assert spark
    everything = {
        "kmeans": KMeans(k=3, seed=1, maxIter=2),
        "logistic": LogisticRegression(regParam=0.25),
        "bayes": NaiveBayes(modelType="gaussian"),
        "pipeline": pipeline(),
        "cross_validator": cross_validator(1),
        "split": split(),
        "one_vs_rest": one_vs_rest(),
    }
    for name, estimator in everything.items():
        estimator.write().overwrite().save(f"{folder}/{name}")


def load(kind: type[Estimator], name: str) -> Callable[[SparkSession, str], None]:
    """The step that loads an estimator and fits it."""

    def step(spark: SparkSession, folder: str) -> None:
        loaded = kind.load(f"{folder}/{name}")
        assert type(loaded) is kind, type(loaded)
        model = loaded.fit(rows(spark))
        assert "prediction" in model.transform(rows(spark)).columns

    step.__name__ = f"load_{name}"
    return step


def load_models(spark: SparkSession, folder: str) -> None:
    frame = rows(spark)
    assert len(KMeansModel.load(f"{folder}/model/kmeans").clusterCenters()) == 3
    logistic = LogisticRegressionModel.load(f"{folder}/model/logistic")
    bayes = NaiveBayesModel.load(f"{folder}/model/bayes")
    for model in (logistic, bayes):
        assert model.transform(frame).where("prediction = label").count() == 60


STEPS = [
    fit,
    fit_with_parameters,
    fit_pipeline,
    fit_cross_validator,
    fit_split,
    fit_one_vs_rest,
    save,
    load(KMeans, "kmeans"),
    load(LogisticRegression, "logistic"),
    load(NaiveBayes, "bayes"),
    load(Pipeline, "pipeline"),
    load(CrossValidator, "cross_validator"),
    load(TrainValidationSplit, "split"),
    load(OneVsRest, "one_vs_rest"),
    load_models,
]

if __name__ == "__main__":
    for step in STEPS:
        step(SparkSession.builder.getOrCreate(), sys.argv[1])
