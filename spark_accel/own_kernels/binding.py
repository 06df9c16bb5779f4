"""A request's shapes and parameters put into a kernel's definition: sizes, scalars, work sizes, shapes of outputs.

Numbers of the request are Python's own, of any size, until they have been held against the type that they get.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from spark_accel.own_kernels.definition import Definition, Tensor
from spark_accel.own_kernels.sizes import Size, SizeError

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    **{f"{kind}{bits}": np.dtype(f"{kind.lower()}{bits}") for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)},
}
"""numpy's types by the protocol's names; numpy has none for BF16."""
_MOST_ITEMS = 2**40  # work items of a request


class BindingError(ValueError):
    """A request does not fit the kernel; the text says why, and what to do."""


@dataclass(frozen=True)
class Bound:
    """What a request makes of a kernel. `runs`: whether there is any work item."""

    scalars: Mapping[str, np.generic]
    outputs: Mapping[str, tuple[int, ...]]
    global_size: tuple[int, ...]
    local_size: tuple[int, ...] | None

    @property
    def runs(self) -> bool:
        """Whether there is a work item at all."""
        return math.prod(self.global_size) > 0


def bind(definition: Definition, shapes: Mapping[str, tuple[int, ...]], parameters: Mapping[str, Any]) -> Bound:
    """The sizes of a run for inputs of these shapes, which fit their dims; raises BindingError."""
    known: dict[str, int] = {}
    for tensor in definition.inputs:
        _take_names(tensor, shapes[tensor.name], known)
    given = {name: known[name] if name in known else _given(name, parameters) for name in definition.scalars}
    scalars = {name: _typed(name, given[name], datatype) for name, datatype in definition.scalars.items()}
    known |= {name: int(value) for name, value in scalars.items() if isinstance(value, np.integer)}
    for tensor in definition.inputs:
        _check_shape(tensor, shapes[tensor.name], known)
    outputs = {tensor.name: _output_shape(tensor, known) for tensor in definition.outputs}
    global_size = _values("global_size", definition.global_size, known)
    local_size = _values("local_size", definition.local_size, known) or None
    if math.prod(global_size) > _MOST_ITEMS:
        raise BindingError(f"global_size is {list(global_size)}, more than {_MOST_ITEMS} work items")
    if local_size and not all(local_size):
        raise BindingError(f"local_size is {list(local_size)}: a group has at least 1 work item in each dimension")
    for whole, part, size in zip(global_size, local_size or (), definition.global_size, strict=False):
        if whole % part:
            raise BindingError(
                f"global_size {list(global_size)} is no multiple of local_size {list(local_size or ())}: write"
                f" 'round_up({size.text}, {part})' into config.pbtxt, and have the kernel leave items too many alone"
            )
    return Bound(scalars, outputs, global_size, local_size)


def _take_names(tensor: Tensor, shape: tuple[int, ...], known: dict[str, int]) -> None:
    for size, side in zip(tensor.shape, shape, strict=True):
        if size.name and known.setdefault(size.name, side) != side:
            raise BindingError(
                f"input '{tensor.name}' has shape {list(shape)}: its '{size.name}' is {side}, and another input's is"
                f" {known[size.name]}"
            )


def _given(name: str, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever a client sends
    if name not in parameters:
        raise BindingError(f"request parameter '{name}', a scalar of the kernel, is missing")
    return parameters[name]


def _typed(name: str, value: Any, datatype: str) -> np.generic:  # noqa: ANN401 - as above
    dtype = DTYPES[datatype]
    if dtype.kind == "f":
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BindingError(f"scalar '{name}' is {value!r}, expected a number ({datatype})")
        if float(np.finfo(dtype).max) < abs(value) != math.inf:
            raise BindingError(f"scalar '{name}' is {value}, too large for {datatype}")
        return cast(np.generic, dtype.type(value))
    if isinstance(value, bool) or not isinstance(value, int):
        raise BindingError(f"scalar '{name}' is {value!r}, expected an integer ({datatype})")
    limits = np.iinfo(dtype)
    if not limits.min <= value <= limits.max:
        raise BindingError(f"scalar '{name}' is {value}, expected {limits.min} to {limits.max} ({datatype})")
    return cast(np.generic, dtype.type(value))


def _check_shape(tensor: Tensor, shape: tuple[int, ...], known: Mapping[str, int]) -> None:
    expected = _values(f"the shape of '{tensor.name}'", tensor.shape, known)
    if expected != shape:
        text = ", ".join(size.text for size in tensor.shape)
        raise BindingError(
            f"input '{tensor.name}' has shape {list(shape)}, expected [{text}], which is {list(expected)}"
        )


def _output_shape(tensor: Tensor, known: Mapping[str, int]) -> tuple[int, ...]:
    shape = _values(f"the shape of '{tensor.name}'", tensor.shape, known)
    if any(dim not in (-1, side) for dim, side in zip(tensor.dims, shape, strict=True)):
        raise BindingError(
            f"output '{tensor.name}' would have shape {list(shape)}, and its dims are {list(tensor.dims)}"
        )
    return shape


def _values(what: str, sizes: tuple[Size, ...], known: Mapping[str, int]) -> tuple[int, ...]:
    try:
        return tuple(size.value(known) for size in sizes)
    except SizeError as error:
        raise BindingError(f"{what}: {error}") from None
