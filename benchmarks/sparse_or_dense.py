"""From which share of elements that are not zero on rows are better packed dense: CSR's time by dense rows' time.

Below 1.00 CSR is faster. As in `spark_accel/bench/estimator_kernels.py`, by the time that a call keeps the device busy.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from spark_accel.bench.kernel_limits import least_seconds
from spark_accel.bench.random_partitions import dense, sparse
from spark_accel.daemon import devices, fpga_estimators
from spark_accel.daemon.opencl_estimators import OpenCLEngine
from spark_accel.daemon.opencl_rows import DeviceRows

_ROWS, _FEATURES = 50_000, 500
_DENSITIES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)


def main(device: str = "cpu-0") -> None:
    """Print the ratios for some densities."""
    opened = devices.open_device(device)
    engine = fpga_estimators.engine(opened, "auto")
    calls = _calls(engine)
    real = np.dtype(np.float32)
    rows = engine.load(dense(_ROWS, _FEATURES, 2, real), True)
    base = {name: least_seconds(partial(_answer, call, rows), opened)[1] for name, call in calls.items()}
    table = Table(
        "not zero", *calls, title=f"{opened.name}, {_ROWS:,} x {_FEATURES}: time of CSR by time of dense rows"
    )
    for density in _DENSITIES:
        data = engine.load(sparse(_ROWS, _FEATURES, density, 2, real), True)
        ratios = [least_seconds(partial(_answer, call, data), opened)[1] / base[name] for name, call in calls.items()]
        table.add_row(f"{density:.0%}", *(f"{ratio:.2f}" for ratio in ratios))
    Console().print(table)


def _answer(begin: Callable[[DeviceRows], Callable[[], object]], rows: DeviceRows) -> object:
    return begin(rows)()


def _calls(engine: OpenCLEngine) -> dict[str, Callable[[DeviceRows], Callable[[], object]]]:
    rng = np.random.default_rng(1)
    few, many = rng.normal(size=(8, _FEATURES)), rng.normal(size=(100, _FEATURES))
    matrix = rng.normal(0.0, 0.1, (10, _FEATURES))
    return {
        "lloyd k=8": lambda rows: engine.lloyd(rows, few),
        "lloyd k=100": lambda rows: engine.lloyd(rows, many),
        "binomial": lambda rows: engine.binomial(rows, matrix[0], 0.1),
        "multinomial, 10 classes": lambda rows: engine.multinomial(rows, matrix, matrix[:, 0]),
        "class sums": lambda rows: engine.class_sums(rows, 2, True),
    }


if __name__ == "__main__":
    typer.run(main)
