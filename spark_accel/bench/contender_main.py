"""The process of one contender: takes commands as lines of JSON, answers each with a line, ends when there are no more.

    python -m spark_accel.bench.contender_main NAME < commands > answers

The first line is the job. What libraries print goes to standard error, so that answers stay readable.
"""

import importlib
import json
import os
import queue
import signal
import sys
import threading
from dataclasses import asdict
from typing import Any, TextIO

import numpy as np

from spark_accel.bench import failure
from spark_accel.bench.contender import Contender, Job

_CLASSES = {
    "spark-accel": ("contender_ours", "Ours"),
    "openvino": ("contender_openvino", "OpenVino"),
    "onnxruntime": ("contender_onnxruntime", "OnnxRuntime"),
    "tensorflow": ("contender_tensorflow", "TensorFlow"),
}


def main(name: str) -> None:
    """See the file's head."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    commands = _commands()
    contender = _answer(answers, lambda: _load(name, commands.get()))
    while contender is not None:
        command = commands.get()
        _answer(answers, lambda command=command: _do(contender, command))


def _commands() -> "queue.Queue[dict[str, Any]]":
    """Lines of standard input. Its end is the end of this process, whatever it is doing: the parent is gone."""
    commands: queue.Queue[dict[str, Any]] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            commands.put(json.loads(line))
        os.killpg(0, signal.SIGKILL)  # and what libraries have forked

    threading.Thread(target=read, daemon=True).start()
    return commands


def _load(name: str, job: dict[str, Any]) -> Contender:
    cores = sorted(os.sched_getaffinity(0))[: job["threads"]]
    os.sched_setaffinity(0, cores)
    module, kind = _CLASSES[name]
    loaded: Contender = getattr(importlib.import_module(f"spark_accel.bench.{module}"), kind)(Job(**job))
    return loaded


def _do(contender: Contender, command: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever JSON takes
    what = command.pop("do")
    if what == "about":
        return contender.about
    if what == "set_up":
        return contender.set_up(**command)
    if what == "run":
        return asdict(contender.run(**command))
    if what == "arithmetic":
        return contender.arithmetic(**command)
    if what == "classes":
        return contender.classes(np.load(command["images"]))
    return contender.profile(**command)


def _answer(answers: TextIO, work: Any) -> Any:  # noqa: ANN401
    """What the work gives, told to the parent; None, and the reason told, if it fails."""
    try:
        found = work()
        told = {"answer": None if isinstance(found, Contender) else found}
    except Exception as error:  # one contender's failure is a line in the results
        found, told = None, {"error": failure.line(error)}
    answers.write(json.dumps(told) + "\n")
    answers.flush()
    return found


if __name__ == "__main__":
    main(sys.argv[1])
