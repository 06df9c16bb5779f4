"""What a caller gives a kernel, as the kernel takes it: arrays of its inputs' types, and scalars.

Sending them is `client.py`'s; whether shapes fit, the daemon says.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_accel.own_kernels.binding import DTYPES
from spark_accel.own_kernels.definition import Definition

LEAST_BYTES = 4096  # of a region
_ALIGNMENT = 64  # bytes
_WHOLE = ("iu", "ui")  # kinds of integers, whose values are looked at


def padded(nbytes: int) -> int:
    """How many bytes a tensor takes in a region."""
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT


def arguments(
    kernel: Definition, values: Mapping[str, npt.ArrayLike]
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, int | float]]:
    """The inputs as C-contiguous arrays, and the scalars, by name.

    Raises TypeError for a name that the kernel does not have or misses, and for a value that its type can't hold.
    """
    inputs = {tensor.name: tensor.datatype for tensor in kernel.inputs}
    wanted = [*inputs, *kernel.parameters]
    for problem, names in (
        ("has no argument", [name for name in values if name not in wanted]),
        ("misses argument", [name for name in wanted if name not in values]),
    ):
        if names:
            raise TypeError(f"kernel '{kernel.model}' {problem} '{names[0]}'; it takes {', '.join(wanted)}")
    tensors = {name: array(kernel, name, datatype, values[name]) for name, datatype in inputs.items()}
    return tensors, {name: _scalar(kernel, name, values[name]) for name in kernel.parameters}


def array(kernel: Definition, name: str, datatype: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
    """A value as input `name`: integers are held against the range of its type. Raises TypeError, ValueError."""
    dtype = dtype_of(kernel, name, datatype)
    found = np.asarray(value)
    if (
        found.size
        and not np.can_cast(found.dtype, dtype, "same_kind")
        and (found.dtype.kind + dtype.kind) not in _WHOLE
    ):
        raise TypeError(f"input '{name}' of kernel '{kernel.model}' is {datatype}, not {found.dtype}: cast it before")
    if found.size and dtype.kind in "iu" and not np.can_cast(found.dtype, dtype):
        limits = np.iinfo(dtype)
        if found.min() < limits.min or found.max() > limits.max:
            raise ValueError(
                f"input '{name}' of kernel '{kernel.model}' has values from {found.min()} to {found.max()}, which"
                f" {datatype} can't hold"
            )
    return np.require(found.astype(dtype, copy=False), requirements="C")


def dtype_of(kernel: Definition, name: str, datatype: str) -> "np.dtype[Any]":
    """numpy's type of a tensor; raises TypeError where it has none."""
    if datatype not in DTYPES:
        raise TypeError(f"'{name}' of kernel '{kernel.model}' is {datatype}, for which numpy has no type")
    return DTYPES[datatype]


def _scalar(kernel: Definition, name: str, value: npt.ArrayLike) -> int | float:
    whole = "INT" in kernel.scalars[name]
    kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, kinds):
        kind = "an integer" if whole else "a number"
        raise TypeError(f"scalar '{name}' of kernel '{kernel.model}' is {value!r}, expected {kind}")
    if not whole:
        return float(value)
    found = int(value)
    if not -(2**63) <= found < 2**63:
        raise TypeError(f"scalar '{name}' of kernel '{kernel.model}' is {found}, more than a request can hold")
    return int(found)
