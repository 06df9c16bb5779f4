"""`configure(SparkSession.builder)`: turns the plugin on for a session that a Python program makes itself.

Jar and plugin are added to those that the user has, wherever they come from: the builder, `spark-defaults.conf` or the
command line of `spark-submit`.
"""

import os
import re
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark import SparkConf, SparkContext
from pyspark.find_spark_home import _find_spark_home
from pyspark.sql import SparkSession

from spark_accel import jar
from spark_accel.errors import ConfigurationError

PLUGIN = "org.sparkaccel.AccelPlugin"
CONNECT_BACKENDS = "spark.connect.ml.backend.classes"
CONNECT_BACKEND = "org.sparkaccel.ConnectBackend"


def configure(builder: SparkSession.Builder) -> SparkSession.Builder:
    """Adds spark-accel's jar and plugin to `builder` and returns it; call it before the first session of the process.

    For `remote("local…")` the jar and Connect's way to our estimators are added: Spark runs no plugins there, and the
    first task starts the daemon. For `remote("sc://…")` nothing is: a Connect server brings its own jars and plugins.

    Raises ConfigurationError where it would be of no use: a session is active, a JVM without the jar runs in this
    process already, or the jar has not been built.
    """
    if SparkContext._active_spark_context is not None or SparkSession.getActiveSession() is not None:
        raise ConfigurationError(
            "a Spark session is active: it would ignore the plugin. Call spark_accel.configure before the first "
            "session, or stop this one and start a new Python process"
        )
    options: dict[str, Any] = builder._options  # the one way to see what is set
    remote = options.get("spark.remote", os.environ.get("SPARK_REMOTE"))
    if remote is not None and not str(remote).startswith("local"):
        return builder
    given = _given_outside() | options
    builder.config("spark.jars", _add(given.get("spark.jars"), str(jar.path())))
    mode = str(given.get("spark.api.mode", os.environ.get("SPARK_API_MODE")))
    if remote is None and mode.lower() != "connect":
        builder.config("spark.plugins", _add(given.get("spark.plugins"), PLUGIN))
    else:
        builder.config(CONNECT_BACKENDS, _add(given.get(CONNECT_BACKENDS), CONNECT_BACKEND))
    return builder


def _add(present: str | None, item: str) -> str:
    items = [one.strip() for one in (present or "").split(",") if one.strip()]
    return ",".join(items if item in [one.removeprefix("file:") for one in items] else [*items, item])


def _given_outside() -> dict[str, str]:
    """What Spark will know besides the builder's options: of spark-submit's JVM, or of spark-defaults.conf."""
    if "PYSPARK_GATEWAY_PORT" in os.environ:  # under spark-submit
        SparkContext._ensure_initialized()
    if SparkContext._jvm is None:
        return _spark_defaults()
    try:
        loader = SparkContext._jvm.java.lang.Thread.currentThread().getContextClassLoader()
        loader.loadClass(PLUGIN)
    except Py4JJavaError:
        raise ConfigurationError(
            "this process has a Spark JVM already, without spark-accel's jar, and a running JVM takes no more jars: "
            'start a new Python process, or give spark-submit --jars "$(spark-accel jar)"'
        ) from None
    return dict(SparkConf().getAll())


def _spark_defaults() -> dict[str, str]:
    folder = os.environ.get("SPARK_CONF_DIR") or Path(os.environ.get("SPARK_HOME") or _find_spark_home()) / "conf"
    file = Path(folder) / "spark-defaults.conf"
    if not file.is_file():
        return {}
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    pairs = (re.split(r"[\s=:]+", line, maxsplit=1) for line in lines if line and line[0] not in "#!")
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}
