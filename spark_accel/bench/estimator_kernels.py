"""How near the estimators' OpenCL kernels come to what the device can do, call by call.

A call is one partition's part of one iteration, everything included: parameters to the device, kernels, sums back. The
limits are measured first, by `kernel_limits.py`. `busy`, and all that is computed of it, is the time that a call keeps
the device busy: on a machine that others use, too, the time that passes may be twice that and more.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from spark_accel.bench.kernel_limits import least_seconds
from spark_accel.bench.kernel_limits import measure as measure_limits
from spark_accel.bench.random_partitions import dense, sparse
from spark_accel.daemon import devices, fpga_estimators, kernels
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
    rows: int
    make: Callable[[int, np.dtype[Any]], Rows]
    kinds: tuple[str, ...]
    classes: int = 2


_BY_TWO = ("lloyd k=8", "lloyd k=100", "costs k=8", "binomial", "class sums")
_PARTS = (
    Part("x 100", 500_000, lambda rows, real: dense(rows, 100, 2, real), _BY_TWO),
    Part("x 100", 125_000, lambda rows, real: dense(rows, 100, 2, real), _BY_TWO),
    Part("x 100", 1_000, lambda rows, real: dense(rows, 100, 2, real), _BY_TWO),
    Part("x 784", 124_800, lambda rows, real: dense(rows, 784, 26, real), ("multinomial", "class sums"), 26),
    Part("x 10,000 (1 %)", 200_000, lambda rows, real: sparse(rows, 10_000, 0.01, 2, real), _BY_TWO),
    Part("x 10,000 (1 %)", 200_000, lambda rows, real: sparse(rows, 10_000, 0.01, 10, real), ("multinomial",), 10),
)
_KINDS = {
    "kmeans": ("lloyd k=8", "lloyd k=100", "costs k=8"),
    "logistic": ("binomial", "multinomial"),
    "naive-bayes": ("class sums",),
}


def measure(name: str, scale: float, device: str, precision: str) -> dict[str, Any]:
    """Calls of the kernels of `kmeans`, `logistic` or `naive-bayes`, their seconds and the limits; `precision` is
    float32 or float64."""
    opened = devices.open_device(device)
    real = np.dtype(precision)
    suitable = kernels.suitable("kmeans", "auto", devices.properties(opened))
    tier = suitable[0]
    engine = fpga_estimators.engine(opened, tier.name)
    limits = measure_limits(opened, next(one for one in suitable if one.name != fpga_estimators.TIER), real)
    calls = []
    for part in _PARTS:
        for one in _measurements(part, engine, real, _KINDS[name], scale):
            passed, busy = least_seconds(one.call, opened)
            facts = {"multiplications": one.multiplications, "bytes": one.bytes}
            calls.append({"title": one.name, "seconds": passed, "busy": busy, **facts})
    return {
        "device": opened.name,
        "tier": tier.name,
        "limits": {"multiplications": limits.multiplications, "bytes": limits.bytes},
        "calls": calls,
    }


def _measurements(
    part: Part, engine: OpenCLEngine, real: np.dtype[Any], kinds: tuple[str, ...], scale: float
) -> Iterator[Measurement]:
    """Calls on one partition, which is made only if one is wanted."""
    wanted = [kind for kind in part.kinds if kind in kinds]
    if not wanted:
        return
    rng = np.random.default_rng(1)
    rows = part.make(max(1, round(part.rows * scale)), real)
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
        yield Measurement(f"{kind}, {rows.rows:,} {part.name}", begin, elements * by_element, read)
