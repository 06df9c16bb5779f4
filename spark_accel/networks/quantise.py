"""Makes a folded float network into a plan: ranges by `calibration.py`, weights by `rounding.py`, both layer by layer.

Weights have a scale for each output channel. The scale of the input is a part of the weights, its zero of the bias; the
residual's scale over the sums' scale is the integer by which it is multiplied.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from spark_accel.networks import calibration, float_network, rounding
from spark_accel.networks import plan as plans
from spark_accel.networks.calibration import Quantisation
from spark_accel.networks.float_network import FloatLayer, FloatNetwork, FusedConvolution
from spark_accel.networks.graph import Dense, GlobalAveragePool, MaxPool
from spark_accel.networks.plan import INPUT, Plan
from spark_accel.networks.rounding import LARGEST, SecondMoment

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Progress = Callable[[], object]
"""Is called when a layer is done."""

_WINDOWS = 8192  # per layer, of all images, from which the second moment is taken
_MOST = 2**28  # of a bias or residual in units of the sums, so that they can't leave int32


def quantise(network: FloatNetwork, images: npt.NDArray[np.uint8], progress: Progress | None = None) -> Plan:
    """The plan of a network, calibrated on RGB images [n, height, width, 3]."""
    quantisations = {INPUT: Quantisation(np.ones(3, np.float32), np.zeros(3, np.uint8))}
    values: dict[str, Float32] = {INPUT: images.astype(np.float32)}
    last_use = {name: index for index, layer in enumerate(network.layers) for name in float_network.inputs(layer)}
    layers: list[plans.Layer] = []
    for index, layer in enumerate(network.layers):
        taken = float_network.inputs(layer)
        moment = _moment(layer, values[layer.input])
        residual = values[taken[1]] if len(taken) > 1 else None
        y = float_network.execute(layer, values[layer.input], residual, moment.add)
        values[layer.output] = y
        quantisations[layer.output] = _quantisation(layer, y, quantisations[layer.input])
        layers.append(_layer(layer, quantisations, moment.mean(), values[layer.input].shape))
        for name in taken:
            if last_use[name] == index:
                values.pop(name, None)
        if progress is not None:
            progress()
    plan = Plan(network.height, network.width, tuple(layers))
    plans.validate(plan)
    return plan


def _moment(layer: FloatLayer, x: Float32) -> SecondMoment:
    if isinstance(layer, FusedConvolution):
        rows, columns = layer.window.outputs(x.shape[1], x.shape[2])
        return SecondMoment(len(x) * rows * columns, _WINDOWS)
    return SecondMoment(len(x), _WINDOWS)


def _quantisation(layer: FloatLayer, y: Float32, of_input: Quantisation) -> Quantisation:
    if isinstance(layer, MaxPool):
        return of_input
    if isinstance(layer, GlobalAveragePool):
        # A mean has the zero of what it is of; the plan can move a scale but no zero.
        return of_input if of_input.zero_point.any() else calibration.non_negative(y)
    if isinstance(layer, FusedConvolution) and not layer.relu:
        return calibration.signed(y)
    return calibration.non_negative(np.maximum(y, 0))


def _layer(
    layer: FloatLayer, quantisations: dict[str, Quantisation], moment: Float32 | None, shape: tuple[int, ...]
) -> plans.Layer:
    x, y = quantisations[layer.input], quantisations[layer.output]
    if isinstance(layer, MaxPool):
        return plans.MaxPool(layer.name, layer.input, layer.output, layer.kernel, layer.stride, layer.padding)
    if isinstance(layer, GlobalAveragePool):
        multiplier = (x.scale / y.scale / (shape[1] * shape[2])).astype(np.float32)
        return plans.GlobalAveragePool(layer.name, layer.input, layer.output, multiplier)
    if isinstance(layer, Dense):
        matrix, scale = _weights(layer.weights, x, np.abs(layer.bias) / _MOST, moment)
        bias = layer.bias / scale - matrix @ x.zero_point.astype(np.float64)
        return plans.Dense(layer.name, layer.input, layer.output, _int8(matrix), _int32(bias), _float32(scale))
    return _convolution(layer, quantisations, moment)


def _convolution(
    layer: FusedConvolution, quantisations: dict[str, Quantisation], moment: Float32 | None
) -> plans.Convolution:
    x, y = quantisations[layer.input], quantisations[layer.output]
    residual = None if layer.residual is None else quantisations[layer.residual]
    least = np.abs(layer.bias) / _MOST
    if residual is not None:
        least = np.maximum(least, residual.scale * (calibration.LEVELS / _MOST))
    matrix, scale = _weights(layer.weights, x, least, moment)
    positions = layer.window.kernel[0] * layer.window.kernel[1]
    bias = layer.bias / scale - matrix @ np.tile(x.zero_point.astype(np.float64), positions)
    factor = None
    if residual is not None:
        factor = np.rint(residual.scale / scale)
        bias -= residual.zero_point * factor
    return plans.Convolution(
        name=layer.name,
        input=layer.input,
        output=layer.output,
        stride=layer.window.stride,
        padding=layer.window.padding,
        weights=_int8(matrix.reshape(layer.weights.shape)),
        bias=_int32(bias),
        multiplier=_float32(scale / y.scale),
        zero_point=y.zero_point,
        pad_value=np.rint(layer.pad_value).astype(np.uint8) if layer.input == INPUT else x.zero_point,
        residual=layer.residual,
        residual_multiplier=None if factor is None else _int32(factor),
    )


def _weights(
    weights: Float32, x: Quantisation, least: npt.NDArray[np.floating], moment: Float32 | None
) -> tuple[Float64, Float64]:
    """Whole numbers [out, terms] and their scale [out], at least `least`, for inputs that are quantised as x."""
    matrix = (weights * x.scale).reshape(len(weights), -1).astype(np.float64)
    scale = np.maximum(np.abs(matrix).max(axis=1) / LARGEST, np.maximum(least, calibration.SMALLEST))
    units = (matrix / scale[:, None]).astype(np.float32)
    if moment is None:
        return rounding.nearest(units).astype(np.float64), scale
    unit = np.tile(1 / x.scale, matrix.shape[1] // len(x.scale)).astype(np.float32)
    return rounding.compensated(units, moment * unit * unit[:, None]).astype(np.float64), scale


def _int8(values: Float64) -> plans.Int8:
    return np.ascontiguousarray(values, np.int8)


def _int32(values: Float64) -> plans.Int32:
    return np.rint(values).astype(np.int32)


def _float32(values: Float64) -> plans.Float32:
    return values.astype(np.float32)
