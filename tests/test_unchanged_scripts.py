"""Unchanged PySpark scripts in local mode, with the jar alone: spark-accel is not installed where they run.

One process, four sessions: what one saves, the next ones load, with the plugin on and off.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from script_runs import FITS, LOADING, SAVING, STOCK_SCRIPT, Place, ours, place, plugin, python_without_package

# Each fit looks for a daemon, which nothing can start there, before it is left to stock Spark.
pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]
__all__ = ["place"]
CONSTRUCTING = [step for step in FITS if step.startswith("fit")]
AFTERWARDS = ["load_pipeline", "load_models"]
KMEANS_SCRIPT = Path(__file__).parent / "kmeans_script.py"
OFF = {"spark.accel.enabled": "false"}
ON = {"spark.accel.enabled": "true"}
PHASES = [
    {"conf": OFF, "steps": SAVING},
    {"conf": ON, "steps": LOADING},
    {"conf": ON, "steps": [*CONSTRUCTING, "save"]},
    {"conf": OFF, "steps": AFTERWARDS},
]


@pytest.fixture(scope="module")
def found(place: Place) -> dict[str, Any]:
    """What the script found out; the folder `saved` then holds what it saved with the plugin on."""
    python = python_without_package(place.folder / "python")
    conf = plugin() | {"spark.master": "local[1]"}  # one slot: what a fit holds of it must not keep others waiting
    return place.run(STOCK_SCRIPT, conf, PHASES, (python,), PYSPARK_PYTHON=python)


def test_the_package_is_not_there(found: dict[str, Any]) -> None:
    assert found["package"] is False


@pytest.mark.parametrize("step", CONSTRUCTING)
def test_what_a_script_makes_and_fits_is_ours(found: dict[str, Any], step: str) -> None:
    assert ours(found["sessions"][2]["steps"])[step] == FITS[step]


@pytest.mark.parametrize("step", LOADING)
def test_what_it_loads_and_fits_is_ours_though_stock_spark_saved_it(found: dict[str, Any], step: str) -> None:
    assert ours(found["sessions"][1]["steps"])[step] == FITS[step]


def test_with_the_plugin_switched_off_all_is_stock(found: dict[str, Any]) -> None:
    for session in (found["sessions"][0], found["sessions"][3]):
        assert session["class"] == "org.apache.spark.ml.clustering.KMeans"
        assert not any(session["steps"].values())


def test_what_is_saved_names_stock_classes_alone(found: dict[str, Any], place: Place) -> None:
    assert found
    names = {_class(file) for file in (place.folder / "saved").rglob("metadata/part-*")}
    assert names
    assert all(name.startswith(("org.apache.spark.ml.", "pyspark.ml.pipeline.")) for name in names), names
    assert not any("accel" in name for name in names)


def test_it_loads_in_a_spark_without_our_jar(found: dict[str, Any], place: Place) -> None:
    assert found

    without = place.run(STOCK_SCRIPT, {"spark.master": "local[2]"}, [{"steps": AFTERWARDS}])

    assert without["sessions"][0]["steps"] == {step: {} for step in AFTERWARDS}


def test_where_kryo_takes_registered_classes_alone_stock_spark_fits(place: Place) -> None:
    kryo = {
        "spark.master": "local[2]",
        "spark.serializer": "org.apache.spark.serializer.KryoSerializer",
        "spark.kryo.registrationRequired": "true",
        # What stock Spark's own fit needs.
        "spark.kryo.classesToRegister": "[Lorg.apache.spark.mllib.clustering.VectorWithNorm;",
    }

    found = place.run(KMEANS_SCRIPT, plugin() | kryo, [{}])

    assert found["sessions"][0]["steps"] == {"fit": {"fallback.KMeans.kryo": 1}}


def _class(metadata: Path) -> str:
    name: str = json.loads(metadata.read_text())["class"]
    return name
