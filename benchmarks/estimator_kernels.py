"""How near the estimators' OpenCL kernels come to what the device can do, call by call.

A call is one partition's part of one iteration, everything included: parameters to the device, kernels, sums back. The
limits are measured first, by `kernel_limits.py`. `busy ms`, and all that is computed of it, is the time that a call
keeps the device busy: on a machine that others use, too, `ms` may be twice that and more.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pyopencl as cl
import typer
from kernel_limits import Limits, least_seconds, measure
from random_partitions import dense, sparse
from rich.console import Console
from rich.table import Table

from spark_accel.daemon import devices, kernels
from spark_accel.daemon.opencl_estimators import OpenCLEngine
from spark_accel.estimators.rows import Rows


@dataclass(frozen=True)
class Measurement:
    """A kind of call, how many multiplications with an addition it needs, how many bytes of rows it reads."""

    name: str
    begin: Callable[[], Callable[[], object]]
    multiplications: int
    bytes: int

    def call(self) -> object:
        """What it answers."""
        return self.begin()()


@dataclass(frozen=True)
class Part:
    """A partition and what is called on it."""

    name: str
    make: Callable[[np.dtype[Any]], Rows]
    kinds: tuple[str, ...]
    classes: int = 2


_BY_TWO = ("lloyd k=8", "lloyd k=100", "costs k=8", "binomial", "class sums")
_PARTS = (
    Part("500,000 x 100", lambda real: dense(500_000, 100, 2, real), _BY_TWO),
    Part("125,000 x 100", lambda real: dense(125_000, 100, 2, real), _BY_TWO),
    Part("1,000 x 100", lambda real: dense(1_000, 100, 2, real), _BY_TWO),
    Part("124,800 x 784, 26 classes", lambda real: dense(124_800, 784, 26, real), ("multinomial", "class sums"), 26),
    Part("200,000 x 10,000 (1 %)", lambda real: sparse(200_000, 10_000, 0.01, 2, real), _BY_TWO),
    Part(
        "200,000 x 10,000 (1 %), 10 classes", lambda real: sparse(200_000, 10_000, 0.01, 10, real), ("multinomial",), 10
    ),
)


def main(
    *,
    device: Annotated[str, typer.Option(help="The device's id, see `spark-accel devices`.")] = "cpu-0",
    tier: Annotated[str | None, typer.Option(help="The kernels' tier; default: the one that suits.")] = None,
    precision: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    only: Annotated[str, typer.Option(help="Measure what has this in its name.")] = "",
) -> None:
    """Print a table of calls, their time and their share of the device's limits."""
    opened = devices.open_device(device)
    real = np.dtype(precision)
    found = kernels.tiers(kernels.folder() / "kmeans")
    chosen = kernels.select([one for one in found if tier in (None, one.name)], devices.properties(opened))
    engine = OpenCLEngine(opened, chosen.name)
    limits = measure(opened, chosen, real)
    table = Table(
        title=f"{opened.name}, tier '{chosen.name}', {precision}: at most "
        f"{limits.multiplications / 1e9:.0f} GFMA/s and {limits.bytes / 1e9:.1f} GB/s",
    )
    for head in ("call", "ms", "busy ms", "GFMA/s", "of limit", "GB/s", "of limit"):
        table.add_column(head, justify="left" if head == "call" else "right")
    for part in _PARTS:
        for measurement in _measurements(part, engine, real, only):
            table.add_row(*_row(measurement, limits, opened))
    Console(width=120).print(table)


def _row(measurement: Measurement, limits: Limits, device: cl.Device) -> list[str]:
    passed, busy = least_seconds(measurement.call, device)
    return [
        measurement.name,
        f"{passed * 1e3:.2f}",
        f"{busy * 1e3:.2f}",
        f"{measurement.multiplications / busy / 1e9:.1f}",
        f"{measurement.multiplications / busy / limits.multiplications:.0%}",
        f"{measurement.bytes / busy / 1e9:.1f}",
        f"{measurement.bytes / busy / limits.bytes:.0%}",
    ]


def _measurements(part: Part, engine: OpenCLEngine, real: np.dtype[Any], only: str) -> Iterator[Measurement]:
    """Calls on one partition, which is made only if one is wanted."""
    wanted = [kind for kind in part.kinds if only in f"{kind}, {part.name}"]
    if not wanted:
        return
    rng = np.random.default_rng(1)
    rows = part.make(real)
    data = engine.load(rows, True)
    elements = len(rows.values) if rows.sparse else rows.rows * rows.features
    read = len(rows.values) * (rows.values.dtype.itemsize + 4 * rows.sparse)
    few, many = rng.normal(size=(8, rows.features)), rng.normal(size=(100, rows.features))
    matrix = rng.normal(0.0, 0.1, (max(2, part.classes), rows.features))
    calls: dict[str, tuple[Callable[[], Callable[[], object]], int]] = {
        "lloyd k=8": (lambda: engine.lloyd(data, few), 8),
        "lloyd k=100": (lambda: engine.lloyd(data, many), 100),
        "costs k=8": (lambda: engine.costs(data, few), 8),
        "binomial": (lambda: engine.binomial(data, matrix[0], 0.1), 2),
        "multinomial": (lambda: engine.multinomial(data, matrix, matrix[:, 0]), 2 * part.classes),
        "class sums": (lambda: engine.class_sums(data, part.classes, True), 2),
    }
    for kind in wanted:
        begin, by_element = calls[kind]
        yield Measurement(f"{kind}, {part.name}", begin, elements * by_element, read)


if __name__ == "__main__":
    typer.run(main)
