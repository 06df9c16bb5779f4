"""A Spark application that loses an executor in the middle of a fit; run by `test_estimators_lost_executor.py`.

`spark-submit lost_executor.py CONFIGURATION`; the last line of its output is what it found out, as JSON.
"""

import json
import signal
import sys
import threading
from typing import Any

import training_data
from conftest import eventually
from plugin_applications import executor, leases
from pyspark.ml.clustering import KMeans, KMeansModel
from pyspark.sql import DataFrame, SparkSession


def fit(data: DataFrame) -> KMeansModel:
    return KMeans(k=7, seed=1, tol=0.0, maxIter=100, initMode="random").fit(data)


def facts(model: KMeansModel) -> dict[str, Any]:
    centres = [list(map(float, centre)) for centre in model.clusterCenters()]
    return {"centres": centres, "cost": model.summary.trainingCost, "iterations": model.summary.numIter}


def main(conf: dict[str, str]) -> dict[str, Any]:
    """An undisturbed fit, and one during which executor 0 is killed."""
    spark = SparkSession.builder.getOrCreate()
    context = spark.sparkContext
    data = training_data.frame(spark, training_data.table("covtype").rows())
    data.count()
    found: dict[str, Any] = {"application": context.applicationId, "undisturbed": facts(fit(data))}

    models: list[KMeansModel] = []
    thread = threading.Thread(target=lambda: models.append(fit(data)))
    jobs = len(context.statusTracker().getJobIdsForGroup())
    thread.start()
    eventually(lambda: len(context.statusTracker().getJobIdsForGroup()) > jobs + 8, 60, "the fit iterates")
    executor(context.applicationId, "0").send_signal(signal.SIGKILL)
    thread.join(200)
    found["disturbed"] = facts(models[0])
    found["counters"] = dict(context._jvm.org.apache.spark.ml.accel.FitCounters.snapshot())
    lost = f"executor 0 of {context.applicationId}"
    eventually(lambda: lost not in leases(conf), 60, "the killed executor's lease ends")
    spark.stop()
    return found


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
