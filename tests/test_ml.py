"""`spark_accel.ml`: estimators that a user asks for by name, with the plugin and without it, and through Connect."""

import inspect
from typing import Any

import pytest
from pyspark.ml import classification, clustering
from script_runs import HERE, Place, place, plugin

from spark_accel import jar
from spark_accel.ml.classification import LogisticRegression, NaiveBayes
from spark_accel.ml.clustering import KMeans

__all__ = ["place"]
SCRIPT = HERE / "explicit_script.py"
JAR_ALONE: dict[str, dict[str, int]] = {
    "fit": {"accelerated.KMeans": 1, "accelerated.LogisticRegression": 1, "accelerated.NaiveBayes": 1},
    "fit_copy": {"accelerated.KMeans": 1},
    "save": {},
    "load_own": {"accelerated.KMeans": 1},
    "load_as_stock": {},
    "load_what_stock_saved": {},
}
MAPPED = JAR_ALONE | {"load_as_stock": {"accelerated.KMeans": 1}}
PAIRS = [
    (KMeans, clustering.KMeans),
    (LogisticRegression, classification.LogisticRegression),
    (NaiveBayes, classification.NaiveBayes),
]


@pytest.mark.parametrize(("ours", "stock"), PAIRS)
def test_constructors_take_the_keywords_of_pysparks(ours: Any, stock: Any) -> None:  # noqa: ANN401 - classes
    assert issubclass(ours, stock)
    assert inspect.signature(ours) == inspect.signature(stock)
    assert inspect.signature(ours.setParams) == inspect.signature(stock.setParams)


@pytest.mark.spark
def test_they_need_the_jar_and_not_the_plugin_and_get_on_with_it(place: Place) -> None:
    conf = {"spark.master": "local[2]", "spark.jars": str(jar.path())}
    phases: list[dict[str, Any]] = [{}, {"conf": {"spark.plugins": plugin()["spark.plugins"]}}]

    without, mapped = place.run(SCRIPT, conf, phases)["sessions"]

    assert (without["class"], mapped["class"]) == (
        "org.apache.spark.ml.clustering.KMeans",
        "pyspark.ml.clustering.KMeans",
    )
    assert without["steps"] == JAR_ALONE
    assert mapped["steps"] == MAPPED


@pytest.mark.spark
def test_they_work_through_spark_connect(place: Place) -> None:
    found = place.run(SCRIPT, {}, [{"configure": True}], SPARK_REMOTE="local[2]", SPARK_TESTING="1")

    assert found["sessions"][0]["steps"] == MAPPED
