"""The layer plan: a quantised network as data, the one thing that importer, numpy reference and kernels share.

Activations are uint8 [n, height, width, channels]. A convolution, with x the input, w the weights, r the residual:

    total = sum(x * w) + bias + r * residual_multiplier          (int32, exact: `validate` proves it can't overflow)
    y     = saturate_uint8(rint(float32(total) * multiplier) + zero_point)

float32(total) is rounded to nearest even, the product is one float32 multiplication, rint rounds half to even. So every
tier that follows this text gives the same bits. A ReLU is the saturation at 0 of an output whose zero_point is 0.
Positions outside of the input have the value `pad_value` of their channel.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from spark_accel.errors import ModelError

Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]

FILE_NAME = "network.safetensors"
INPUT = "image"
MAX_SIDE = 4096
MAX_CHANNELS = 65536
MAX_LAYERS = 4096
MAX_RESIDUAL_MULTIPLIER = 2**22 - 1  # kernels multiply by it in two parts of 16 bits


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution with folded batch norm, bias, optional residual add, and requantisation. See the file's head."""

    kind: ClassVar[str] = "convolution"
    name: str
    input: str
    output: str
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]  # top, left, bottom, right
    weights: Int8  # [out, kernel height, kernel width, in]
    bias: Int32  # [out]
    multiplier: Float32  # [out]
    zero_point: UInt8  # [out]
    pad_value: UInt8  # [in]
    residual: str | None = None  # an activation of the output's shape
    residual_multiplier: Int32 | None = None  # [out], at most MAX_RESIDUAL_MULTIPLIER either way


@dataclass(frozen=True, eq=False)
class MaxPool:
    """A maximum over windows; positions outside count as 0."""

    kind: ClassVar[str] = "max_pool"
    name: str
    input: str
    output: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]  # top, left, bottom, right


@dataclass(frozen=True, eq=False)
class GlobalAveragePool:
    """y = saturate_uint8(rint(float32(sum over height and width) * multiplier)), [n, 1, 1, channels]."""

    kind: ClassVar[str] = "global_average_pool"
    name: str
    input: str
    output: str
    multiplier: Float32  # [channels]


@dataclass(frozen=True, eq=False)
class Dense:
    """The last layer: logits = float32(sum(x * w) + bias) * multiplier, float32 [n, classes]; input [n, 1, 1, in]."""

    kind: ClassVar[str] = "dense"
    name: str
    input: str
    output: str
    weights: Int8  # [classes, in]
    bias: Int32  # [classes]
    multiplier: Float32  # [classes]


Layer = Convolution | MaxPool | GlobalAveragePool | Dense
_ARRAYS = frozenset({"weights", "bias", "multiplier", "zero_point", "pad_value", "residual_multiplier"})  # the tensors
_KINDS: dict[str, type[Layer]] = {kind.kind: kind for kind in (Convolution, MaxPool, GlobalAveragePool, Dense)}


@dataclass(frozen=True, eq=False)
class Plan:
    """A network: takes uint8 RGB [n, height, width, 3], activation `image`; ends in one Dense layer."""

    height: int
    width: int
    layers: tuple[Layer, ...]

    @property
    def classes(self) -> int:
        """The number of logits."""
        return int(self.layers[-1].weights.shape[0]) if self.layers and isinstance(self.layers[-1], Dense) else 0

    def shapes(self) -> dict[str, tuple[int, int, int]]:
        """Height, width and channels of every uint8 activation, `image` first."""
        shapes = {INPUT: (self.height, self.width, 3)}
        for layer in self.layers:
            if not isinstance(layer, Dense):
                shapes[layer.output] = output_shape(layer, shapes[layer.input])
        return shapes


def output_shape(layer: Convolution | MaxPool | GlobalAveragePool, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Height, width, channels of a layer's output for an input of `shape`."""
    height, width, channels = shape
    if isinstance(layer, GlobalAveragePool):
        return 1, 1, channels
    kernel = layer.weights.shape[1:3] if isinstance(layer, Convolution) else layer.kernel
    top, left, bottom, right = layer.padding
    out = layer.weights.shape[0] if isinstance(layer, Convolution) else channels
    rows = (height + top + bottom - kernel[0]) // layer.stride[0] + 1
    columns = (width + left + right - kernel[1]) // layer.stride[1] + 1
    return rows, columns, out


def save(plan: Plan, folder: Path) -> None:
    """Writes the plan as `network.safetensors` in `folder`, which exists."""
    tensors: dict[str, npt.NDArray[np.generic]] = {}
    layers = []
    for index, layer in enumerate(plan.layers):
        facts: dict[str, object] = {"kind": layer.kind}
        for name, value in _values(layer):
            if isinstance(value, np.ndarray):
                tensors[f"{index}.{name}"] = np.ascontiguousarray(value)
            else:
                facts[name] = value
        layers.append(facts)
    text = json.dumps({"height": plan.height, "width": plan.width, "layers": layers})
    save_file(tensors, folder / FILE_NAME, metadata={"plan": text})


def load(folder: Path) -> Plan:
    """Reads and validates `network.safetensors`; raises ModelError, naming the file, for what is no plan."""
    path = folder / FILE_NAME
    try:
        if not path.is_file():  # opening a FIFO would wait for ever
            raise OSError("it is no file")
        with safe_open(path, framework="numpy") as file:
            facts = json.loads(file.metadata()["plan"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        rows = facts["layers"]
        layers = tuple(_layer(index, row, tensors) for index, row in enumerate(rows))
        plan = Plan(int(facts["height"]), int(facts["width"]), layers)
        validate(plan)
    except (
        OSError,
        SafetensorError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise ModelError(f"{path} is not a usable network: {type(error).__name__}: {error}") from error
    return plan


def validate(plan: Plan) -> None:
    """Raises ValueError, naming the layer, unless kernels can run the plan without any further check."""
    _require(0 < plan.height <= MAX_SIDE and 0 < plan.width <= MAX_SIDE, f"image of {plan.height} x {plan.width}")
    _require(0 < len(plan.layers) <= MAX_LAYERS, f"{len(plan.layers)} layers")
    shapes = {INPUT: (plan.height, plan.width, 3)}
    for index, layer in enumerate(plan.layers):
        where = f"layer {index} '{layer.name}'"
        _require(layer.input in shapes, f"{where}: unknown input '{layer.input}'")
        _require(isinstance(layer, Dense) == (index == len(plan.layers) - 1), f"{where}: the last layer alone is dense")
        _require(layer.output not in shapes, f"{where}: output '{layer.output}' exists already")
        shape = shapes[layer.input]
        if isinstance(layer, Dense):
            _require(shape[:2] == (1, 1), f"{where}: input of {shape}, expected 1 x 1")
            _check_dense(where, layer, shape[2])
            continue
        if isinstance(layer, Convolution):
            _check_convolution(where, layer, shape, shapes)
        elif isinstance(layer, MaxPool):
            _check_window(where, layer.kernel, layer.stride, layer.padding, shape)
        else:
            _check_multiplier(where, layer.multiplier, shape[2])
            _require(shape[0] * shape[1] * 255 < 2**31, f"{where}: sums over {shape[:2]} can exceed int32")
        shapes[layer.output] = found = output_shape(layer, shape)
        _require(math.prod(found) < 2**31, f"{where}: output of {found}")


def _values(layer: Layer) -> Iterator[tuple[str, object]]:
    return ((field.name, getattr(layer, field.name)) for field in fields(layer))


def _layer(index: int, row: Mapping[str, object], tensors: Mapping[str, npt.NDArray[np.generic]]) -> Layer:
    kind = _KINDS[str(row["kind"])]
    values: dict[str, object] = {}
    for field in fields(kind):
        if field.name in _ARRAYS:
            values[field.name] = tensors.get(f"{index}.{field.name}")
        elif field.name in row:
            value = row[field.name]
            values[field.name] = _integers(value) if isinstance(value, list) else value
    layer = kind(**values)  # type: ignore[arg-type]
    for name in ("name", "input", "output"):
        _require(isinstance(getattr(layer, name), str), f"layer {index}: '{name}' is no text")
    return layer


def _integers(value: list[object]) -> tuple[int, ...]:
    _require(all(isinstance(item, int) for item in value), f"{value} are no integers")
    return tuple(int(str(item)) for item in value)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _array(where: str, name: str, value: object, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    _require(isinstance(value, np.ndarray), f"{where}: {name} is missing")
    assert isinstance(value, np.ndarray)  # noqa: S101 - for the type checker
    _require(
        value.dtype == dtype and value.shape == shape,
        f"{where}: {name} is {value.dtype} {value.shape}, expected {np.dtype(dtype)} {shape}",
    )


def _check_multiplier(where: str, multiplier: Float32, channels: int) -> None:
    _array(where, "multiplier", multiplier, np.float32, (channels,))
    _require(
        bool(np.all(np.isfinite(multiplier) & (multiplier > 0))), f"{where}: multiplier is not finite and positive"
    )


def _check_window(
    where: str, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...], shape: tuple[int, int, int]
) -> None:
    _require(
        len(kernel) == 2 and len(stride) == 2 and len(padding) == 4, f"{where}: kernel, stride, padding of wrong length"
    )
    _require(all(0 < side <= MAX_SIDE for side in (*kernel, *stride)), f"{where}: kernel {kernel}, stride {stride}")
    for padded, side, size in ((padding[0::2], kernel[0], shape[0]), (padding[1::2], kernel[1], shape[1])):
        _require(all(0 <= one < side for one in padded), f"{where}: padding {padding} for kernel {kernel}")
        _require(size + sum(padded) >= side, f"{where}: kernel {kernel} is larger than its input of {shape}")


def _check_sum(where: str, weights: Int8, bias: Int32, extra: Int32 | None = None) -> None:
    # -128 has no absolute value in 8 bits, save as the unsigned 128 that its bits are.
    rows = np.abs(weights.reshape(weights.shape[0], -1)).view(np.uint8).sum(axis=1, dtype=np.int64) * 255
    bound = rows + np.abs(bias.astype(np.int64))
    if extra is not None:
        bound = bound + np.abs(extra.astype(np.int64)) * 255
    _require(int(bound.max(initial=0)) < 2**31, f"{where}: sums can exceed int32 ({int(bound.max(initial=0))})")


def _check_dense(where: str, layer: Dense, channels: int) -> None:
    _require(isinstance(layer.weights, np.ndarray) and layer.weights.ndim == 2, f"{where}: weights are no matrix")
    classes = layer.weights.shape[0]
    _require(0 < classes <= MAX_CHANNELS, f"{where}: {classes} classes")
    _array(where, "weights", layer.weights, np.int8, (classes, channels))
    _array(where, "bias", layer.bias, np.int32, (classes,))
    _check_multiplier(where, layer.multiplier, classes)
    _check_sum(where, layer.weights, layer.bias)


def _check_convolution(
    where: str, layer: Convolution, shape: tuple[int, int, int], shapes: Mapping[str, tuple[int, int, int]]
) -> None:
    _require(
        isinstance(layer.weights, np.ndarray) and layer.weights.ndim == 4, f"{where}: weights have not 4 dimensions"
    )
    out, rows, columns, _ = layer.weights.shape
    _require(0 < out <= MAX_CHANNELS, f"{where}: {out} channels")
    _array(where, "weights", layer.weights, np.int8, (out, rows, columns, shape[2]))
    _check_window(where, (rows, columns), layer.stride, layer.padding, shape)
    _array(where, "bias", layer.bias, np.int32, (out,))
    _array(where, "zero_point", layer.zero_point, np.uint8, (out,))
    _array(where, "pad_value", layer.pad_value, np.uint8, (shape[2],))
    _check_multiplier(where, layer.multiplier, out)
    _require((layer.residual is None) == (layer.residual_multiplier is None), f"{where}: half a residual")
    if layer.residual is not None and layer.residual_multiplier is not None:
        _array(where, "residual_multiplier", layer.residual_multiplier, np.int32, (out,))
        largest = int(np.abs(layer.residual_multiplier.astype(np.int64)).max(initial=0))
        _require(
            largest <= MAX_RESIDUAL_MULTIPLIER,
            f"{where}: residual_multiplier of {largest}, at most {MAX_RESIDUAL_MULTIPLIER}",
        )
        expected = output_shape(layer, shape)
        _require(
            shapes.get(layer.residual) == expected,
            f"{where}: residual '{layer.residual}' is {shapes.get(layer.residual)}, expected {expected}",
        )
    _check_sum(where, layer.weights, layer.bias, layer.residual_multiplier)
