"""A user's script that does no more than fit KMeans."""

from pyspark.ml.clustering import KMeans
from pyspark.ml.linalg import Vectors
from pyspark.sql import SparkSession


def fit(spark: SparkSession, _: str) -> None:
    rows = spark.createDataFrame([(Vectors.dense(float(number)),) for number in range(20)], ["features"])
    KMeans(k=2, seed=1).fit(rows)


STEPS = [fit]
