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
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from spark_accel.bench import progress
from spark_accel.bench.environment import environment
from spark_accel.bench.options import Options
from spark_accel.errors import AccelError

_FITS = "spark_accel.bench.fits"
BENCHES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "resnet50": ("the network alone beside OpenVINO, ONNX Runtime, TensorFlow", "spark_accel.bench.resnet50", ()),
    "kmeans": ("KMeans beside stock MLlib and scikit-learn", _FITS, ("kmeans",)),
    "logistic": ("LogisticRegression beside stock MLlib and scikit-learn", _FITS, ("logistic",)),
    "naive-bayes": ("NaiveBayes beside stock MLlib and scikit-learn", _FITS, ("naive-bayes",)),
    "daemon": ("requests through the daemon beside a Triton server", "spark_accel.bench.daemon", ()),
    "spark": ("predict over JPEG bytes in Spark beside UDFs", "spark_accel.bench.spark_inference", ()),
}
"""What a bench is, the module whose `measure(*arguments, options)` makes its result, and these arguments."""

_ENDING_SECONDS = 100.0


def run(name: str, options: Options) -> dict[str, Any]:
    """The result of a bench, or {"failed": reason}. Interrupted, it ends all of the bench's processes first."""
    progress.say(f"== {name}: {BENCHES[name][0]}")
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
            raise
        if process.returncode == 0 and file.is_file():
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return found
    return {"failed": f"its process ended with status {process.returncode}, see above"}


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
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    _, module, arguments = BENCHES[name]
    try:
        result = importlib.import_module(module).measure(*arguments, options)
    except AccelError as error:
        progress.say(f"{name}: {error}")
        result = {"failed": str(error)}
    except ModuleNotFoundError as error:
        result = {"failed": f"{error.name} is not installed: pip install 'spark-accel[bench]'"}
    except KeyboardInterrupt:
        sys.exit(130)
    file.write_text(json.dumps(result), encoding="utf-8")


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    with contextlib.suppress(OSError):
        sys.stdin.read()  # ends when the parent does
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
