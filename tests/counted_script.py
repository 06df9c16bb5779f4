"""Runs the steps of a script, as they are, and says after each which implementation did the fits.

`python counted_script.py SCRIPT FOLDER PHASES`, also through `spark-submit`. PHASES is JSON: a list of sessions, one
after the other, each `{"conf": {…}, "steps": […]}`, where no steps are all. The last line of the output is JSON: for
each session what each step added to `FitCounters`, the Java class behind PySpark's `KMeans()`, and the application.

Nothing of spark_accel is imported here, but where a phase says `"configure": true`.
"""

import importlib.util
import json
import runpy
import sys
from typing import Any

from py4j.java_gateway import JavaPackage
from pyspark import SparkContext
from pyspark.ml.clustering import KMeans
from pyspark.sql import SparkSession, is_remote

COUNTERS = "org.apache.spark.ml.accel.FitCounters"


def counts(spark: SparkSession) -> dict[str, int]:
    """How many fits the device did and how many it did not, in the driver's JVM, which under Spark Connect is the
    server; none without the bridge's jar.
    """
    return {name: count for name, count in snapshot(spark).items() if name.startswith(("accelerated.", "fallback."))}


def snapshot(spark: SparkSession) -> dict[str, int]:
    if is_remote():
        text = spark.sql(f"SELECT reflect('{COUNTERS}', 'snapshot')").head()[0]
        pairs = (pair.split("=") for pair in text.strip("{}").split(", ") if pair)
        return {name: int(count) for name, count in pairs}
    counters = SparkContext._jvm
    for name in COUNTERS.split("."):
        counters = getattr(counters, name)
    return {} if isinstance(counters, JavaPackage) else dict(counters.snapshot())


def session(phase: dict[str, Any]) -> SparkSession:
    builder = SparkSession.builder.config(map=phase.get("conf", {}))
    if phase.get("configure"):
        import spark_accel

        builder = spark_accel.configure(builder)
    return builder.getOrCreate()


def run(script: dict[str, Any], folder: str, phase: dict[str, Any]) -> dict[str, Any]:
    spark = session(phase)
    facts: dict[str, Any] = {"steps": {}}
    if not is_remote():
        facts |= {"class": KMeans()._java_obj.getClass().getName(), "application": spark.sparkContext.applicationId}
    wanted = phase.get("steps", [step.__name__ for step in script["STEPS"]])
    for step in script["STEPS"]:
        if step.__name__ in wanted:
            before = counts(spark)
            step(spark, folder)
            added = {name: count - before.get(name, 0) for name, count in counts(spark).items()}
            facts["steps"][step.__name__] = {name: count for name, count in added.items() if count}
    spark.stop()
    return facts


if __name__ == "__main__":
    package = importlib.util.find_spec("spark_accel")
    found = {
        "package": package is not None and package.origin is not None,  # a folder without code has no origin
        "sessions": [run(runpy.run_path(sys.argv[1]), sys.argv[2], phase) for phase in json.loads(sys.argv[3])],
    }
    print(json.dumps(found))
