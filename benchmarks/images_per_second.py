"""Images/s of a quantised ResNet50 here and of TensorFlow's float32 ResNet50, side by side.

Measures the networks alone, in this process: no Spark, no daemon, no decoding of files. The two take turns, round by
round, on the same number of threads, so that both see the same machine. TensorFlow is left out where it is not
installed (`pip install 'spark-accel[bench]'`).
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from random_resnet50 import random_resnet50
from rich.console import Console
from rich.table import Table

from spark_accel import __version__, settings
from spark_accel.daemon import devices
from spark_accel.daemon.network import Network
from spark_accel.daemon.reference_network import ReferenceNetwork
from spark_accel.networks import plan

_BATCHES = (1, 8, 32)
_SECONDS = 1.0  # a measurement repeats a batch for at least so long


@dataclass
class Contender:
    """What is measured: `prepare(batch)` gives a call that runs one batch. `rates` are images/s by batch."""

    name: str
    prepare: Callable[[int], Callable[[], object]]
    rates: dict[int, list[float]] = field(default_factory=dict)


def main(
    *,
    model: Annotated[str, typer.Option(help="An imported model; default: ResNet50's layers with random weights.")] = "",
    repository: Annotated[str | None, typer.Option(help="The model repository (spark.accel.repository).")] = None,
    device: Annotated[str | None, typer.Option(help="Which device (spark.accel.device).")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often the contenders take turns.")] = 7,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each.")] = len(os.sched_getaffinity(0)),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print images/s of spark-accel's int8 network and of TensorFlow's float32 ResNet50."""
    chosen = settings.override(settings.from_environment(), repository=repository, device=device)
    network = plan.load(chosen.repository / model / "1") if model else random_resnet50()
    os.environ["POCL_MAX_PTHREAD_COUNT"] = str(threads)
    facts = devices.select(devices.discover_in_subprocess(), chosen.device, chosen.fallback)[0]

    contenders = [Contender("spark-accel int8", _spark_accel(network, facts.id))]
    notes = ["random weights: these figures say nothing about accuracy"] if not model else []
    try:
        contenders.append(Contender("TensorFlow float32", _tensorflow(threads)))
    except ImportError:
        notes.append("TensorFlow is not installed (pip install 'spark-accel[bench]'): left out")
    for batch in _BATCHES:
        _take_turns(contenders, batch, rounds)

    about = {
        "network": model or "random ResNet50 v1",
        "device": f"{facts.id} ({facts.platform}: {facts.name})",
        "machine": f"{_processor()}, {threads} threads",
        "versions": _versions(),
    }
    if as_json:
        rates = {one.name: {batch: one.rates[batch] for batch in _BATCHES} for one in contenders}
        print(json.dumps({**about, "notes": notes, "images_per_second": rates}))
    else:
        _print(about, notes, contenders, rounds)


def _spark_accel(network: plan.Plan, device: str) -> Callable[[int], Callable[[], object]]:
    largest = max(_BATCHES)
    if device == devices.REFERENCE.id:
        loaded: Network = ReferenceNetwork(network, largest)
    else:
        from spark_accel.daemon.opencl_network import OpenCLNetwork  # noqa: PLC0415 - the reference needs no pyopencl

        loaded = OpenCLNetwork(network, devices.open_device(device), largest)
    loaded.input_view(largest)[:] = _images(largest, network.height, network.width)
    return lambda batch: lambda: loaded.run_staged(batch)


def _tensorflow(threads: int) -> Callable[[int], Callable[[], object]]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf  # noqa: PLC0415 - may be absent

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    resnet50 = tf.keras.applications.ResNet50(weights=None)
    run = tf.function(lambda images: resnet50(images, training=False))

    def prepare(batch: int) -> Callable[[], object]:
        images = tf.constant(_images(batch, 224, 224), tf.float32)
        return lambda: run(images).numpy()

    return prepare


def _images(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def _take_turns(contenders: list[Contender], batch: int, rounds: int) -> None:
    calls = [one.prepare(batch) for one in contenders]
    for call in calls:
        call()  # compiles what is compiled by batch size
    for _ in range(rounds):
        for one, call in zip(contenders, calls, strict=True):
            one.rates.setdefault(batch, []).append(_rate(call, batch))


def _rate(call: Callable[[], object], batch: int) -> float:
    images, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < _SECONDS:
        call()
        images += batch
    return images / elapsed


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {"spark-accel": __version__, "python": platform.python_version()}
    for package in ("numpy", "pyopencl", "pocl-binary-distribution", "tensorflow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _print(about: dict[str, Any], notes: list[str], contenders: list[Contender], rounds: int) -> None:
    console = Console()
    table = Table(
        "batch", *(one.name for one in contenders), title="images/s: median (least to most)", title_justify="left"
    )
    for batch in _BATCHES:
        cells = [
            f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})"
            for rates in (one.rates[batch] for one in contenders)
        ]
        table.add_row(str(batch), *cells)
    console.print(table)
    about = {**about, "versions": ", ".join(f"{name} {value}" for name, value in about["versions"].items())}
    for name, value in {**about, "rounds": f"{rounds}, taking turns"}.items():
        console.print(f"{name}: {value}", highlight=False, markup=False)
    for note in notes:
        console.print(f"note: {note}", highlight=False, markup=False)


if __name__ == "__main__":
    typer.run(main)
