"""Turns a layer plan into steps: one kernel call a layer with its tensors packed as the tier's kernels read them.

A step still names its activations; `opencl_network.py` gives them buffers and runs the steps. The order of the
arguments is that of the kernels in `kernels/network`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from spark_accel.daemon.kernels import KernelError, Tier
from spark_accel.networks.plan import Convolution, Dense, GlobalAveragePool, Int8, Layer, MaxPool, Plan, output_shape

Array = npt.NDArray[np.generic]
Shape = tuple[int, int, int]
_Any = TypeVar("_Any", bound=np.generic)

_ACTIVATIONS = "uint8 [n][height][width][channels]"


@dataclass(frozen=True)
class Grid:
    """How many work items a kernel call has: `items` an image, done in groups of `group`, times `columns`."""

    items: int
    group: int
    columns: int

    def work_items(self, images: int) -> tuple[int, int]:
        """The global size for this many images."""
        return -(-images * self.items // self.group), self.columns


@dataclass(frozen=True, eq=False)
class Step:
    """A kernel call. Its first argument, the number of images, is not in `arguments`.

    An argument is an activation's name, a constant tensor, an integer, or None for a tensor that is not there.
    """

    kernel: str
    arguments: tuple[str | Array | int | None, ...]
    grid: Grid


def steps(plan: Plan, tier: Tier) -> list[Step]:
    """The steps of a valid plan; raises KernelError if the tier's layouts are unknown here."""
    if tier.layouts["activation"] != _ACTIVATIONS or tier.layouts["weights"] not in _PACKED:
        raise KernelError(f"tier '{tier.name}' of {tier.source.parent} has unknown layouts: {dict(tier.layouts)}")
    shapes = plan.shapes()
    return [_step(layer, shapes[layer.input], tier) for layer in plan.layers]


def _step(layer: Layer, shape: Shape, tier: Tier) -> Step:
    if isinstance(layer, Convolution):
        return _convolution(layer, shape, tier)
    if isinstance(layer, MaxPool):
        return _max_pool(layer, shape, tier)
    if isinstance(layer, GlobalAveragePool):
        return _global_average_pool(layer, shape, tier)
    return _dense(layer, tier)


def _convolution(layer: Convolution, shape: Shape, tier: Tier) -> Step:
    lanes = tier.defines["LANES"]
    rows, columns, out = output_shape(layer, shape)
    arguments = (
        layer.input,
        _packed(layer.weights, tier),
        _filled_up(layer.bias, lanes),
        _filled_up(layer.multiplier, lanes),
        _filled_up(layer.zero_point, lanes),
        np.pad(layer.pad_value, (0, lanes)),
        layer.residual,
        None if layer.residual_multiplier is None else _filled_up(layer.residual_multiplier, lanes),
        layer.output,
        *shape,
        rows,
        columns,
        out,
        *layer.weights.shape[1:3],
        *layer.stride,
        *layer.padding[:2],
        int(layer.residual is not None),
    )
    blocks = -(-out // (lanes * tier.defines["BLOCKS"]))
    return Step("convolution", arguments, Grid(rows * columns, tier.defines["PIXELS"], blocks))


def _max_pool(layer: MaxPool, shape: Shape, tier: Tier) -> Step:
    rows, columns, channels = output_shape(layer, shape)
    arguments = (layer.input, layer.output, *shape, rows, columns, *layer.kernel, *layer.stride, *layer.padding[:2])
    return Step("max_pool", arguments, Grid(rows, 1, -(-channels // tier.defines["LANES"])))


def _global_average_pool(layer: GlobalAveragePool, shape: Shape, tier: Tier) -> Step:
    rows, columns, channels = shape
    multiplier = _filled_up(layer.multiplier, tier.defines["LANES"])
    arguments = (layer.input, multiplier, layer.output, rows * columns, channels)
    return Step("global_average_pool", arguments, Grid(1, 1, -(-channels // tier.defines["LANES"])))


def _dense(layer: Dense, tier: Tier) -> Step:
    lanes = tier.defines["LANES"]
    classes, channels = layer.weights.shape
    arguments = (
        layer.input,
        _packed(layer.weights[:, np.newaxis, np.newaxis], tier),
        _filled_up(layer.bias, lanes),
        _filled_up(layer.multiplier, lanes),
        layer.output,
        channels,
        classes,
    )
    return Step("dense", arguments, Grid(1, tier.defines["PIXELS"], -(-classes // lanes)))


def _filled_up(values: npt.NDArray[_Any], lanes: int) -> npt.NDArray[_Any]:
    """`values` with zeros behind them, up to a multiple of `lanes` along the first dimension."""
    return np.pad(values, [(0, -len(values) % lanes), *[(0, 0)] * (values.ndim - 1)])


def _packed(weights: Int8, tier: Tier) -> Int8:
    return np.ascontiguousarray(_PACKED[tier.layouts["weights"]](weights, tier.defines["LANES"]))


def _by_row(weights: Int8, lanes: int) -> Int8:
    filled = _filled_up(weights, lanes)
    out, rows, columns, channels = filled.shape
    return filled.reshape(out // lanes, lanes, rows, columns * channels).transpose(0, 2, 3, 1)


_PACKED: dict[str, Callable[[Int8, int], Int8]] = {  # weights [out, row, column, in] by layout
    "int8 [out / LANES][kernel row][column, in][LANES]": _by_row,
}
