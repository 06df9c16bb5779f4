"""The table of benches: a new one is a row here and a module with `measure(options)`.

Each runs in a process of its own, so that none finds the other's JVM, threads or memory:

    python -m spark_accel.bench.suite NAME RESULT_FILE < options

A result is plain data. What it shows is made by `tables.py`, or it brings `tables` and `headlines` itself: the
fields of `shown.py` as dictionaries.
"""

import contextlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from spark_accel.bench import peers, progress
from spark_accel.bench.environment import environment
from spark_accel.bench.options import Options
from spark_accel.errors import AccelError


@dataclass(frozen=True)
class Bench:
    """`module` has `measure(*arguments, options)`, which makes the result. `peers` are names of `peers.py`, `takes` the
    options that decide what is measured or shown, besides those that all take; others are refused."""

    what: str
    module: str
    arguments: tuple[str, ...]
    peers: tuple[str, ...]
    takes: tuple[str, ...]


def _fits(name: str, title: str) -> Bench:
    what = f"{title} beside stock MLlib and scikit-learn"
    return Bench(what, "spark_accel.bench.fits", (name,), ("scikit-learn", "mllib"), ("scale",))


BENCHES = {
    "resnet50": Bench(
        "the network alone beside OpenVINO, ONNX Runtime, TensorFlow", "spark_accel.bench.resnet50", (),
        ("openvino", "onnxruntime", "tensorflow"),
        ("model", "images", "labels", "seconds", "batches", "watts", "price-per-hour", "profile"),
    ),
    "kmeans": _fits("kmeans", "KMeans"),
    "logistic": _fits("logistic", "LogisticRegression"),
    "naive-bayes": _fits("naive-bayes", "NaiveBayes"),
    "daemon": Bench(
        "requests through the daemon beside a Triton server", "spark_accel.bench.daemon", (), ("triton",),
        ("model", "images", "seconds"),
    ),
    "spark": Bench(
        "predict over JPEG bytes in Spark beside UDFs", "spark_accel.bench.spark_inference", (),
        ("openvino", "tensorflow"), ("model", "images", "rows", "scale"),
    ),
}  # fmt: skip

_ENDING_SECONDS = 100.0


def run(name: str, options: Options, results: dict[str, Any]) -> None:
    """Adds the result of a bench, or {"failed": reason}, to `results`.

    Interrupted, it ends all of the bench's processes and adds what the rounds gave that had ended, if there are any.
    """
    bench = BENCHES[name]
    progress.say(f"== {name}: {bench.what}")
    for one in map(peers.peer, bench.peers):
        if one.name in options.peers and one.missing():
            progress.say(f"{one.title}: skipped, {one.missing()}")
    with tempfile.TemporaryDirectory(prefix="spark-accel-bench-") as folder:
        file = Path(folder) / "result.json"
        process = subprocess.Popen(
            [sys.executable, "-m", "spark_accel.bench.suite", name, str(file)],
            stdin=subprocess.PIPE,
            stdout=sys.stderr,
            text=True,
            env=environment(options.threads),
            start_new_session=True,
        )
        try:
            assert process.stdin is not None  # noqa: S101 - asked for above
            process.stdin.write(options.to_json() + "\n")
            process.stdin.flush()
            process.wait()
        except BaseException:
            _end(process)
            if found := _result(process, file):
                results[name] = found
            else:
                progress.say(f"{name}: interrupted before a round had ended: there is no result")
            raise
        failed = {"failed": f"its process ended with status {process.returncode}, see above"}
        results[name] = _result(process, file) or failed


def _result(process: "subprocess.Popen[str]", file: Path) -> dict[str, Any]:
    """What an ended process has written; empty if it has not."""
    if process.returncode != 0 or not file.is_file():
        return {}
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _end(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main(name: str, file: Path) -> None:
    """The process of one bench."""
    signal.signal(signal.SIGINT, _interrupt)
    options = Options.from_json(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, args=[file.parent], daemon=True).start()
    _pin(options.threads)
    bench = BENCHES[name]
    try:
        result = importlib.import_module(bench.module).measure(*bench.arguments, options)
    except AccelError as error:
        progress.say(f"{name}: {error}")
        result = {"failed": str(error)}
    except ModuleNotFoundError as error:
        result = {"failed": f"{error.name} is not installed: pip install 'spark-accel[bench]'"}
    except KeyboardInterrupt:
        sys.exit(130)
    with contextlib.suppress(FileNotFoundError):  # its folder went with who asked for it
        file.write_text(json.dumps(result), encoding="utf-8")


def _pin(threads: int) -> None:
    """Keeps this process, what it starts, and the threads that numpy's BLAS has started on the first cores."""
    cores = sorted(os.sched_getaffinity(0))[:threads]
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end_with_parent(folder: Path) -> None:
    """Ends this process with its parent, and deletes the folder that is the parent's."""
    with contextlib.suppress(OSError):
        sys.stdin.read()  # ends when the parent does
    shutil.rmtree(folder, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
