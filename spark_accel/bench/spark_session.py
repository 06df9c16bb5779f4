"""A Spark session for a bench, with a daemon of its own; neither outlives the `with`, however that ends."""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from spark_accel import jar
from spark_accel.bench.daemon_end import end_daemon
from spark_accel.settings import from_spark


@contextlib.contextmanager
def session(folder: Path, threads: int, accelerated: bool, conf: Mapping[str, str]) -> Iterator[SparkSession]:
    """local[threads], with the bridge's jar where `accelerated`; the daemon's socket is in `folder`."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    given: dict[str, Any] = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.accel.enabled": "true",
        "spark.accel.daemon.start": "true",
        "spark.accel.daemon.socket": str(folder / "node" / "daemon.sock"),
        "spark.accel.daemon.idleTimeout": "30s",
        "spark.accel.fallback": "error",
        **({"spark.jars": str(jar.path())} if accelerated else {}),
        **conf,
    }
    spark = SparkSession.builder.master(f"local[{threads}]").config(map=given).getOrCreate()
    # Spark's own handler asks the JVM in the middle of another question to it, which fails with a traceback.
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.getLogger().addFilter(_is_no_interrupt)
    logging.getLogger("py4j").setLevel(logging.CRITICAL)  # what it says of a connection that broke, it raises, too
    try:
        yield spark
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with contextlib.suppress(Exception):  # the connection may have been interrupted in the middle of a question
            spark.sparkContext.setLogLevel("OFF")  # what its tasks say of their end is nobody's concern
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough: what follows must come to its end
        spark.stop()
        end_daemon(from_spark({key: value for key, value in given.items() if key.startswith("spark.accel.")}))
        signal.signal(signal.SIGINT, interrupt)
        logging.getLogger().removeFilter(_is_no_interrupt)


def _is_no_interrupt(record: logging.LogRecord) -> bool:
    """Keeps py4j from logging the KeyboardInterrupt that it passes on."""
    return record.exc_info is None or record.exc_info[0] is not KeyboardInterrupt
