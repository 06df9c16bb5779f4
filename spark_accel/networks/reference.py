"""The reference tier: the arithmetic of `plan.py`'s head in numpy. All other tiers equal it bit for bit.

Sums of products are computed by float32 matrix multiplication, which is exact as long as no partial sum reaches 2^24: a
layer's weights are cut into pieces for which that holds, and the pieces' sums are added as int32.
"""

from collections.abc import Iterator

import numpy as np

from spark_accel.networks.plan import (
    INPUT,
    Convolution,
    Dense,
    Float32,
    GlobalAveragePool,
    Int8,
    Int32,
    MaxPool,
    Plan,
    UInt8,
    output_shape,
)
from spark_accel.networks.windows import Window, pad, strided, unfold

_EXACT = 2**24


def run(plan: Plan, images: UInt8) -> Float32:
    """The logits, float32 [n, classes], of uint8 RGB images [n, height, width, 3]."""
    for _, value in activations(plan, images):
        logits = value
    return logits  # type: ignore[return-value]


def activations(plan: Plan, images: UInt8) -> Iterator[tuple[str, UInt8 | Float32]]:
    """Every layer's output with its name, in order, the logits last; each is freed after its last use."""
    last_use = {name: index for index, layer in enumerate(plan.layers) for name in _inputs(layer)}
    values: dict[str, UInt8] = {INPUT: images}
    for index, layer in enumerate(plan.layers):
        x = values[layer.input]
        if isinstance(layer, Dense):
            yield layer.output, dense(layer, x)
            continue
        if isinstance(layer, Convolution):
            y = convolution(layer, x, None if layer.residual is None else values[layer.residual])
        elif isinstance(layer, MaxPool):
            y = max_pool(layer, x)
        else:
            y = global_average_pool(layer, x)
        values[layer.output] = y
        yield layer.output, y
        for name in (*_inputs(layer), layer.output):
            if last_use.get(name, -1) <= index:
                values.pop(name, None)


def convolution(layer: Convolution, x: UInt8, residual: UInt8 | None = None) -> UInt8:
    """uint8 [n, rows, columns, out] for x uint8 [n, height, width, in]; `residual` has the output's shape."""
    rows, columns, out = output_shape(layer, (x.shape[1], x.shape[2], x.shape[3]))
    y = np.empty((x.shape[0], rows, columns, out), np.uint8)
    pieces = _pieces(layer.weights.reshape(out, -1))
    window = Window(layer.weights.shape[1:3], layer.stride, layer.padding)
    for images, band, windows in unfold(x, window, layer.pad_value, out):
        total = _matrix_product(windows, pieces)
        total += layer.bias
        shape = y[images, band].shape
        if residual is not None and layer.residual_multiplier is not None:
            total += residual[images, band].reshape(-1, out) * layer.residual_multiplier
        y[images, band] = _requantise(total, layer.multiplier, layer.zero_point).reshape(shape)
    return y


def max_pool(layer: MaxPool, x: UInt8) -> UInt8:
    """uint8 [n, rows, columns, channels] for x uint8 [n, height, width, channels]."""
    rows, columns, channels = output_shape(layer, (x.shape[1], x.shape[2], x.shape[3]))
    padded = pad(x, layer.padding, np.zeros(channels, np.uint8))
    y = np.zeros((x.shape[0], rows, columns, channels), np.uint8)
    for i in range(layer.kernel[0]):
        for j in range(layer.kernel[1]):
            np.maximum(y, strided(padded, i, j, layer.stride, (rows, columns)), out=y)
    return y


def global_average_pool(layer: GlobalAveragePool, x: UInt8) -> UInt8:
    """uint8 [n, 1, 1, channels] for x uint8 [n, height, width, channels]."""
    total = x.sum(axis=(1, 2), dtype=np.int32, keepdims=True)
    return _requantise(total, layer.multiplier, np.zeros(1, np.uint8))


def dense(layer: Dense, x: UInt8) -> Float32:
    """float32 [n, classes] for x uint8 [n, 1, 1, in]."""
    total = _matrix_product(x.reshape(x.shape[0], -1).astype(np.float32), _pieces(layer.weights))
    total += layer.bias
    return total.astype(np.float32) * layer.multiplier


def _inputs(layer: Convolution | MaxPool | GlobalAveragePool | Dense) -> tuple[str, ...]:
    residual = layer.residual if isinstance(layer, Convolution) else None
    return (layer.input,) if residual is None else (layer.input, residual)


def _requantise(total: Int32, multiplier: Float32, zero_point: UInt8) -> UInt8:
    with np.errstate(over="ignore"):  # infinity saturates, as it should
        value = total.astype(np.float32) * multiplier
    np.rint(value, out=value)
    value += zero_point.astype(np.float32)
    np.clip(value, 0, 255, out=value)
    return value.astype(np.uint8)


def _pieces(weights: Int8) -> list[tuple[slice, Float32]]:
    """`weights` [out, terms] in runs of terms for which no partial sum of products with uint8 reaches 2^24."""
    sums = np.cumsum(np.abs(weights.astype(np.int64)) * 255, axis=1)
    matrix = np.ascontiguousarray(weights.T, np.float32)
    pieces = []
    start, before = 0, np.zeros((weights.shape[0], 1), np.int64)
    while start < weights.shape[1]:
        stop = int(np.searchsorted((sums - before).max(axis=0), _EXACT))
        pieces.append((slice(start, stop), matrix[start:stop]))
        start, before = stop, sums[:, stop - 1 : stop]
    return pieces


def _matrix_product(x: Float32, pieces: list[tuple[slice, Float32]]) -> Int32:
    total: Int32 = (x[:, pieces[0][0]] @ pieces[0][1]).astype(np.int32)
    for terms, weights in pieces[1:]:
        total += (x[:, terms] @ weights).astype(np.int32)
    return total
