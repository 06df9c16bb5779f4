"""A Python program that makes its own session, with the plugin: `python examples/session_builder.py [MODEL]`."""

import sys
from pathlib import Path

from pyspark.sql import SparkSession

import spark_accel
from spark_accel.functions import predict

PHOTOGRAPHS = Path(spark_accel.__file__).parent / "photographs"

model = sys.argv[1] if len(sys.argv) > 1 else "resnet50"
builder = SparkSession.builder.appName("photographs").master("local[*]")
session = spark_accel.configure(builder).getOrCreate()

photographs = session.read.format("binaryFile").option("pathGlobFilter", "*.jpg").load(str(PHOTOGRAPHS))
classified = photographs.withColumn("classes", predict("content", model=model, top=3))
best = classified.selectExpr("path", "classes[0].label as class", "classes[0].score as score")
best.orderBy("path").show(truncate=False)
session.stop()
