"""Kernels of users for tests: the examples, small ones that do what no kernel should, and definitions in numpy."""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

EXAMPLES = Path(__file__).parents[1] / "examples" / "own_kernels"
Array = npt.NDArray[Any]

VECTOR = """
    backend: "opencl"
    input { name: "x" data_type: TYPE_FP32 dims: -1 }
    output { name: "y" data_type: TYPE_FP32 dims: -1 }"""
_VECTOR_PARAMETERS = {"shapes": "x[n], y[n]", "scalars": "n: INT32", "arguments": "x, y, n", "global_size": "n"}


def source(name: str, body: str) -> str:
    """A kernel on float vectors x and y of length n, and its work item i."""
    return f"__kernel void {name}(__global float *x, __global float *y, int n) {{ int i = get_global_id(0); {body} }}"


TWICE = source("twice", "if (i < n) y[i] = 2 * x[i];")
# `volatile`: no compiler may find that nothing comes of the loop.
ENDLESS = source("endless", "volatile __global float *v = x; if (i < n) { while (v[i] >= 0) {} y[i] = 1; }")
BEHIND = source("behind", "y[i + 1] = x[i];")
BEFORE = source("before", "y[i] = x[i]; x[i - 3] = 1;")
CRASH = source("crash", "y[i] = 1; y[(size_t)i + ((size_t)1 << 50)] = x[i];")


def write_kernel(
    repository: Path,
    name: str,
    text: str,
    config: str = VECTOR,
    *,
    file: str = "portable.cl",
    parameters: Mapping[str, str | None] | None = None,
) -> Path:
    """Makes a kernel's folder, by default of one on vectors x and y, with changed parameters; None: left out."""
    folder = repository / name
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "1" / file).write_text(text)
    (folder / "config.pbtxt").write_text(
        config if "parameters" in config else config + parameters_text(parameters or {})
    )
    return folder


def parameters_text(changed: Mapping[str, str | None]) -> str:
    """The parameters of a kernel on vectors x and y, with changes."""
    given = {**_VECTOR_PARAMETERS, **changed}
    return "\n".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{text}" }} }}'
        for key, text in given.items()
        if text is not None
    )


def install_examples(repository: Path) -> None:
    shutil.copytree(EXAMPLES, repository, dirs_exist_ok=True)


def options(count: int, seed: int = 0) -> dict[str, Array]:
    """Options as columns, float32."""
    rng = np.random.default_rng(seed)
    bounds = {"spot": (10, 200), "strike": (10, 200), "years": (0.1, 5), "volatility": (0.05, 0.8)}
    return {name: rng.uniform(*bound, count).astype(np.float32) for name, bound in bounds.items()}


def black_scholes(spot: Array, strike: Array, years: Array, volatility: Array, rate: float) -> tuple[Array, Array]:
    """The definition: prices of calls and puts in float64 (F. Black, M. Scholes, J. Polit. Econ. 81, 1973)."""
    spot, strike, years, volatility = (one.astype(np.float64) for one in (spot, strike, years, volatility))
    d1 = (np.log(spot / strike) + (rate + volatility**2 / 2) * years) / (volatility * np.sqrt(years))
    d2 = d1 - volatility * np.sqrt(years)
    discounted = strike * np.exp(-rate * years)
    return spot * _below(d1) - discounted * _below(d2), discounted * _below(-d2) - spot * _below(-d1)


def _below(x: Array) -> Array:
    return 0.5 * np.array([math.erfc(-one / math.sqrt(2)) for one in x])
