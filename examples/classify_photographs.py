"""Classifies a folder of photographs with Spark, on the accelerator of each node:

spark-submit --jars "$(spark-accel jar)" --conf spark.plugins=org.sparkaccel.AccelPlugin \
    examples/classify_photographs.py FOLDER [MODEL]
"""

import argparse
import sys
import time

from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession
from pyspark.sql.functions import element_at, split
from rich.console import Console
from rich.table import Table

from spark_accel.functions import device, try_predict

FILES = "*.{jpg,jpeg,png,gif,webp,bmp,JPG,JPEG,PNG,GIF,WEBP,BMP}"
ROWS_SHOWN = 50


def classify(session: SparkSession, folder: str, model: str) -> None:
    """Prints each photograph's best class and score, then how fast that was and on which device."""
    reader = session.read.format("binaryFile").option("pathGlobFilter", FILES).option("recursiveFileLookup", "true")
    try:
        photographs = reader.load(folder)
    except AnalysisException:
        sys.exit(f"there is no folder {folder}")
    name = element_at(split("path", "/"), -1).alias("name")
    columns = name, try_predict("content", model=model, top=1)[0].alias("best")

    began = time.perf_counter()
    devices = sorted({row.name for row in session.range(64).select(device().alias("name")).collect()})
    if not photographs.limit(1).select(*columns).collect():
        sys.exit(f"there are no images ({FILES}) in {folder}")
    loaded = time.perf_counter()
    rows = sorted(photographs.select(*columns).collect(), key=lambda row: row.name)
    seconds = time.perf_counter() - loaded

    table = Table("file", "best class", "score")
    for row in rows[:ROWS_SHOWN]:
        known = row.best is not None
        table.add_row(
            row.name,
            (row.best.label or row.best.id) if known else "can't be decoded",
            f"{row.best.score:.3f}" if known else "",
        )
    # As wide as the table: rich takes 80 columns where there is no terminal, and would cut names.
    Console(width=max(80, 40 + max(len(row.name) for row in rows)), markup=False).print(table)
    if len(rows) > ROWS_SHOWN:
        print(f"… and {len(rows) - ROWS_SHOWN} more")
    print(
        f"{len(rows)} images in {seconds:.2f} s, {len(rows) / seconds:.1f} images/s, {model} on {', '.join(devices)} "
        f"(after {loaded - began:.1f} s to get Python workers, daemon and network ready)"
    )


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Classifies a folder of photographs.")
    parser.add_argument("folder", help="the photographs, in folders below it too")
    parser.add_argument("model", nargs="?", default="resnet50", help="a model of the repository (default: resnet50)")
    arguments = parser.parse_args()
    session = SparkSession.builder.appName("classify photographs").getOrCreate()
    classify(session, arguments.folder, arguments.model)
    session.stop()


if __name__ == "__main__":
    main()
