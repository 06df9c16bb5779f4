"""A folded network in float32 and its execution in numpy: what calibration runs, and what quantisation is measured by.

Layer by layer it has the structure of the plan that it becomes. It takes pixels, RGB 0 to 255; batch norm, ReLU,
residual add and preprocessing are parts of the convolutions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spark_accel.networks.graph import Dense, GlobalAveragePool, MaxPool
from spark_accel.networks.plan import INPUT
from spark_accel.networks.windows import Values, Window, pad, strided, unfold

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FusedConvolution:
    """y = convolution(x) + bias + residual, then max(y, 0) if `relu`. `pad_value` [in] stands around the input."""

    name: str
    input: str
    output: str
    weights: Float32  # [out, kernel height, kernel width, in]
    bias: Float32  # [out]
    window: Window
    pad_value: Float32  # [in]
    relu: bool
    residual: str | None = None


FloatLayer = FusedConvolution | MaxPool | GlobalAveragePool | Dense


@dataclass(frozen=True)
class FloatNetwork:
    """Layers in the order of execution; the first takes the activation `image`, the last one is Dense."""

    height: int
    width: int
    layers: tuple[FloatLayer, ...]


def inputs(layer: FloatLayer) -> tuple[str, ...]:
    """The names of the activations that a layer takes."""
    if isinstance(layer, FusedConvolution) and layer.residual is not None:
        return layer.input, layer.residual
    return (layer.input,)


def run(network: FloatNetwork, images: Values) -> Float32:
    """The logits, float32 [n, classes], of RGB images [n, height, width, 3]."""
    values: dict[str, Values] = {INPUT: images}
    last_use = {name: index for index, layer in enumerate(network.layers) for name in inputs(layer)}
    for index, layer in enumerate(network.layers):
        taken = inputs(layer)
        values[layer.output] = execute(layer, values[layer.input], values[taken[1]] if len(taken) > 1 else None)
        for name in taken:
            if last_use[name] == index:
                values.pop(name, None)
    return np.asarray(values[network.layers[-1].output].reshape(len(images), -1), np.float32)


def execute(
    layer: FloatLayer, x: Values, residual: Values | None = None, observe: Callable[[Float32], None] | None = None
) -> Float32:
    """The layer's output [n, rows, columns, out], all float32, for x [n, height, width, in].

    `observe` is shown all windows [m, terms] that weights are multiplied with, in parts.
    """
    if isinstance(layer, FusedConvolution):
        return _convolution(layer, x, residual, observe)
    if isinstance(layer, MaxPool):
        return _max_pool(layer, x.astype(np.float32, copy=False))
    if isinstance(layer, GlobalAveragePool):
        return np.asarray(x.mean(axis=(1, 2), keepdims=True, dtype=np.float32))
    features = x.reshape(len(x), -1).astype(np.float32, copy=False)
    if observe is not None:
        observe(features)
    return (features @ layer.weights.T + layer.bias).reshape(len(x), 1, 1, -1)


def _convolution(
    layer: FusedConvolution, x: Values, residual: Values | None, observe: Callable[[Float32], None] | None
) -> Float32:
    out = len(layer.bias)
    rows, columns = layer.window.outputs(x.shape[1], x.shape[2])
    y = np.empty((len(x), rows, columns, out), np.float32)
    matrix = np.ascontiguousarray(layer.weights.reshape(out, -1).T)
    pad_value = layer.pad_value.astype(np.float32)
    if any(layer.window.padding):
        x = x.astype(np.float32, copy=False)
    for block, part, windows in unfold(x, layer.window, pad_value, out):
        if observe is not None:
            observe(windows)
        total = windows @ matrix
        total += layer.bias
        values = total.reshape(y[block, part].shape)
        if residual is not None:
            values += residual[block, part]
        if layer.relu:
            np.maximum(values, 0, out=values)
        y[block, part] = values
    return y


def _max_pool(layer: MaxPool, x: Float32) -> Float32:
    window = Window(layer.kernel, layer.stride, layer.padding)
    size = window.outputs(x.shape[1], x.shape[2])
    padded = pad(x, layer.padding, np.full(x.shape[3], -np.inf, np.float32))
    y: Float32 = np.full((len(x), *size, x.shape[3]), -np.inf, np.float32)
    for i in range(layer.kernel[0]):
        for j in range(layer.kernel[1]):
            np.maximum(y, strided(padded, i, j, layer.stride, size), out=y)
    return y
