"""What a caller gives a kernel, as the kernel takes it: arrays of its inputs' types, scalars, tensors in a region.

Sending them is `client.py`'s; whether shapes fit, the daemon says.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_accel.own_kernels import binding
from spark_accel.own_kernels.binding import DTYPES, BindingError
from spark_accel.own_kernels.definition import Definition, Tensor

_ALIGNMENT = 64  # bytes
_LEAST_BYTES, _STEP_BYTES = 2**12, 2**26  # of regions: the smallest, and what large ones are multiples of
_WHOLE = ("iu", "ui")  # kinds of integers, whose values are looked at


@dataclass(frozen=True)
class Spot:
    """Where a tensor of this shape lies in a region: `nbytes` at `offset`."""

    tensor: Tensor
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return math.prod(self.shape) * DTYPES[self.tensor.datatype].itemsize

    @property
    def end(self) -> int:
        """Where the next one may lie."""
        return self.offset + -(-self.nbytes // _ALIGNMENT) * _ALIGNMENT

    def array(self, memory: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """The tensor in the region's memory."""
        found = memory[self.offset : self.offset + self.nbytes].view(DTYPES[self.tensor.datatype])
        return found.reshape(self.shape)


def spots(
    kernel: Definition, tensors: Mapping[str, npt.NDArray[Any]], scalars: Mapping[str, int | float]
) -> dict[str, Spot]:
    """Where the inputs lie in a region, and the outputs behind them, by name.

    Outputs have no place if the request does not fit the kernel (the daemon says why), or if numpy has no such type.
    """
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    shapes |= _output_shapes(kernel, shapes, scalars)
    found: dict[str, Spot] = {}
    offset = 0
    for tensor in (*kernel.inputs, *kernel.outputs):
        if tensor.name in shapes:
            found[tensor.name] = Spot(tensor, shapes[tensor.name], offset)
            offset = found[tensor.name].end
    return found


def region_bytes(spots: Iterable[Spot]) -> int:
    """The size of a region for all of them: one of few sizes, so that it can be used again."""
    needed = max((spot.end for spot in spots), default=0)
    if needed > _STEP_BYTES:
        return -(-needed // _STEP_BYTES) * _STEP_BYTES
    return 1 << max(needed - 1, _LEAST_BYTES - 1).bit_length()


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
    try:
        found = np.asarray(value)
    except ValueError as error:  # of lists of different lengths, for one
        raise ValueError(f"input '{name}' of kernel '{kernel.model}' is no array: {error}") from None
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


def _output_shapes(
    kernel: Definition, shapes: Mapping[str, tuple[int, ...]], scalars: Mapping[str, int | float]
) -> dict[str, tuple[int, ...]]:
    if any(len(shapes[tensor.name]) != len(tensor.dims) for tensor in kernel.inputs):
        return {}
    try:
        found = binding.bind(kernel, shapes, scalars).outputs
    except BindingError:
        return {}
    return {tensor.name: found[tensor.name] for tensor in kernel.outputs if tensor.datatype in DTYPES}


def _scalar(kernel: Definition, name: str, value: npt.ArrayLike) -> int | float:
    whole = "INT" in kernel.scalars[name]
    kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, kinds):
        kind = "an integer" if whole else "a number"
        raise TypeError(f"scalar '{name}' of kernel '{kernel.model}' is {value!r}, expected {kind}")
    if not whole:
        try:
            return float(value)
        except OverflowError:
            raise TypeError(
                f"scalar '{name}' of kernel '{kernel.model}' is too large for {kernel.scalars[name]}"
            ) from None
    found = int(value)
    if not -(2**63) <= found < 2**63:
        raise TypeError(f"scalar '{name}' of kernel '{kernel.model}' is {found}, more than a request can hold")
    return int(found)
