"""Spark from JPEG bytes to classes: `predict` against UDFs that users write themselves, turn by turn in one session.

Then the long run, ours alone: whether speed and memory stay what they are over many thousand images. Each contender has
Python workers of its own.
"""

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException, PythonException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql.functions import broadcast, col

from spark_accel import endpoint, settings
from spark_accel.bench import failure, peers, progress, spark_udfs
from spark_accel.bench.contender import Job
from spark_accel.bench.interruption import UntilInterrupted
from spark_accel.bench.network_inputs import NetworkInputs, prepare
from spark_accel.bench.options import Options
from spark_accel.bench.spark_session import session
from spark_accel.errors import ConfigurationError
from spark_accel.functions import predict
from spark_accel.networks import calibration_images

_IMAGES = 384  # of a turn
_SAMPLE_SECONDS = 0.2
_POOL = "SPARK_BENCH_CONTENDER"  # Spark keeps Python workers by their environment


def measure(options: Options) -> dict[str, Any]:
    """Everything measured, with every turn, as JSON takes it."""
    files = _jpeg_files(options)
    with tempfile.TemporaryDirectory(prefix="spark-accel-bench-") as name:
        folder = Path(name)
        inputs = prepare(options, folder)
        contenders, skipped = _contenders(inputs, options, folder)
        conf = {
            "spark.driver.memory": "4g",
            "spark.accel.repository": str(inputs.plan.parents[1]),
            **_device(options),
        }
        images, long = 0, None
        rounds = UntilInterrupted()
        with rounds, session(folder, options.threads, False, conf) as spark:
            photographs = _Photographs(spark, files)
            series = spark_udfs.BATCH * options.threads  # each task has full batches, which some networks are padded to
            images = series * max(1, round(_IMAGES * options.scale / series))
            rows = photographs.repeated(images, options.threads)
            few = photographs.repeated(series, options.threads)  # Python workers start, and load their network
            for number in range(options.rounds):
                progress.say(f"{images} images, round {number + 1} of {options.rounds}")
                for one in contenders:
                    one.run(spark, few)
                    one.turn(spark, rows, images)
            if options.rows:
                long = _long_run(spark, contenders[0], photographs, options)
    return {
        **rounds.mark(contenders[0].turns),
        "network": inputs.name,
        "images": f"{len(files)} photographs",
        "threads": options.threads,
        "images_a_turn": images,
        "contenders": [one.facts() for one in contenders],
        "skipped": skipped,
        "long": long,
    }


class _Contender:
    """A column function, and the seconds of its turns."""

    def __init__(self, name: str, title: str, function: Callable[[], Callable[[str], Column]]) -> None:
        self._name, self._title, self._make = name, title, function
        self.turns: list[dict[str, float]] = []
        self._failed = ""

    def turn(self, spark: SparkSession, rows: DataFrame, images: int) -> None:
        """Measures how long it takes to classify all rows, unless it has failed."""
        seconds = self.run(spark, rows)
        if not self._failed:
            self.turns.append({"images": images, "seconds": seconds})

    def run(self, spark: SparkSession, rows: DataFrame) -> float:
        """Seconds to classify all rows; 0.0 once it has failed, save that our own failure is one of the bench.

        Spark ends Python workers that were idle for a minute, and with them what they had loaded.
        """
        if self._failed:
            return 0.0
        spark.sparkContext.environment[_POOL] = self._name
        start = time.perf_counter()
        try:
            rows.select(self._make()("content")).write.format("noop").mode("overwrite").save()
        except (PySparkException, Py4JJavaError) as error:  # the latter where a Python worker has crashed
            if self._name == peers.OURS:
                raise
            self._failed = _reason(error)
            progress.say(f"{self._title}: {self._failed}")
            return 0.0
        return time.perf_counter() - start

    def facts(self) -> dict[str, Any]:
        return {"name": self._name, "title": self._title, "turns": self.turns, "failed": self._failed}


def _reason(error: Exception) -> str:
    """The line that says why: the last of a Python worker's traceback; of what Py4J tells, the one after the call's."""
    lines = str(error).strip().splitlines()
    if isinstance(error, PythonException):
        return lines[-1]
    return lines[1].removeprefix(": ") if isinstance(error, Py4JJavaError) else lines[0]


def _contenders(inputs: NetworkInputs, options: Options, folder: Path) -> tuple[list[_Contender], list[dict[str, str]]]:
    model = inputs.plan.parent.name
    found = [_Contender(peers.OURS, "spark-accel, predict", lambda: lambda column: predict(column, model, 1))]
    skipped = []
    for name in ("openvino", "tensorflow"):
        if name not in options.peers:
            continue
        peer = peers.peer(name)
        missing = peer.missing() or (inputs.unlike("the UDF") if name == "openvino" else inputs.unlike_keras())
        if not missing and name == "openvino" and not inputs.onnx:
            missing = "the model is there in our own form only: give --model FILE.onnx"
        if missing:
            skipped.append({"title": peer.title, "reason": missing})
        elif name == "openvino":
            try:
                path = _openvino_model(inputs, options, folder)
            except Exception as error:  # a peer's failure is a line in the results
                skipped.append({"title": peer.title, "reason": failure.line(error)})
                continue
            found.append(_Contender(name, "pandas UDF, OpenVINO int8", partial(spark_udfs.openvino_udf, path)))
        else:
            found.append(_Contender(name, "pandas UDF, TensorFlow float32", spark_udfs.tensorflow_udf))
            batch = "predict_batch_udf, TensorFlow float32"
            found.append(_Contender("tensorflow-batch", batch, spark_udfs.tensorflow_batch_udf))
    return found, skipped


def _openvino_model(inputs: NetworkInputs, options: Options, folder: Path) -> str:
    import openvino as ov  # noqa: PLC0415 - may be absent

    from spark_accel.bench.contender_openvino import quantised  # noqa: PLC0415 - the same

    progress.say("OpenVINO int8: quantising")
    calibration = str(inputs.calibration)
    job = Job(inputs.onnx, "", inputs.preprocessing, calibration, calibration, options.threads, 1, str(folder))
    ov.save_model(quantised(job), folder / "openvino.xml", compress_to_fp16=False)
    return str(folder / "openvino.xml")


def _device(options: Options) -> dict[str, str]:
    given = settings.from_environment(options.settings).given
    return {settings.SPARK_PREFIX + "device": given["device"]} if "device" in given else {}


def _jpeg_files(options: Options) -> list[Path]:
    folder = Path(options.images) if options.images else calibration_images.PHOTOGRAPHS
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not files:
        raise ConfigurationError(f"--images {folder}: there are no JPEG files, which the bench `spark` classifies")
    return files


class _Photographs:
    """Encoded images, cached."""

    def __init__(self, spark: SparkSession, files: Sequence[Path]) -> None:
        rows = [(n, path.read_bytes()) for n, path in enumerate(files)]
        self._spark, self._count = spark, len(rows)
        self._numbered = spark.createDataFrame(rows, "n int, content binary").cache()

    def repeated(self, images: int, partitions: int) -> DataFrame:
        """`content` of as many rows, one photograph after the other."""
        ids = self._spark.range(0, images, 1, partitions)
        return ids.join(broadcast(self._numbered), col("id") % self._count == col("n")).select("content")


def _long_run(spark: SparkSession, ours: _Contender, photographs: _Photographs, options: Options) -> dict[str, Any]:
    """The first tenth of the rows, then all: images/s and memory at the end of each."""
    found = {}
    spark.conf.set("spark.sql.execution.arrow.maxBytesPerBatch", "4m")  # of which Spark holds two in each task
    ours.run(spark, photographs.repeated(spark_udfs.BATCH * options.threads, options.threads))
    for name, images in (("first", max(1, options.rows // 10)), ("all", options.rows)):
        progress.say(f"{images:,} images")
        rows = photographs.repeated(images, options.threads)
        with _Memory(Path(spark.conf.get("spark.accel.daemon.socket") or "")) as memory:
            seconds = ours.run(spark, rows)
        found[name] = {"images": images, "seconds": seconds, "memory_bytes": memory.at_the_end()}
    return found


class _Memory:
    """Bytes of the daemon with its workers and of Spark's Python workers, sampled while a job runs."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._samples: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> "_Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def at_the_end(self) -> int:
        """The median over the last quarter of the job."""
        return int(median(self._samples[-max(1, len(self._samples) // 4) :])) if self._samples else 0

    def _sample(self) -> None:
        ends = False
        while not ends:  # short work is looked at when it ends
            ends = self._stop.wait(_SAMPLE_SECONDS)
            workers = [one for one in psutil.Process().children(recursive=True) if _is_worker(one)]
            try:
                daemon = psutil.Process(endpoint.daemon_pid(self._socket))
                asked = [*workers, daemon, *daemon.children(recursive=True)]
                self._samples.append(sum(one.memory_info().rss for one in asked))
            except psutil.Error:
                continue  # one has ended while it was asked


def _is_worker(process: psutil.Process) -> bool:
    """Whether it is a Python worker of ours."""
    try:
        return process.environ().get(_POOL) == peers.OURS and process.name() != "java"
    except psutil.Error:  # ended
        return False
