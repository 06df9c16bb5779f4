"""ONNX files as float graphs. What can't be mapped is an error that names operator and node.

A model takes one image tensor, [n, 3, height, width] or [n, height, width, 3], and gives one vector of logits or, after
a last Softmax that is left out, of probabilities. Nodes that the output doesn't need may be of any kind.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from spark_accel.errors import ModelError
from spark_accel.networks import graph
from spark_accel.networks.graph import Graph, GraphBuilder, Padding
from spark_accel.networks.onnx_tensors import Array, Attributes, Float32, array, float_array, load_model

_HEIGHT_WIDTH = {"NCHW": (2, 3), "NHWC": (1, 2)}


@dataclass(frozen=True)
class _Value:
    """A tensor of the file: the node that computes it, None for the image, and how its dimensions are ordered."""

    name: str
    layout: str  # a key of _HEIGHT_WIDTH


@dataclass(frozen=True)
class _Unmapped:
    """A tensor that something computes for which there is no mapping: an error as soon as a mapped node needs it."""

    operator: str
    node: str


def read(path: Path, side: int = 224) -> Graph:
    """The graph of an ONNX file. `side` is the height and width where the file leaves them open.

    Raises ModelError for files that are no ONNX models, and for models that can't be mapped.
    """
    return _Reader(load_model(path), path.parent, side).read()


class _Reader:
    def __init__(self, model: onnx.ModelProto, folder: Path, side: int) -> None:
        self._graph = model.graph
        self._folder = folder
        self._constants: dict[str, onnx.TensorProto] = {tensor.name: tensor for tensor in self._graph.initializer}
        self._values: dict[str, _Value | _Unmapped] = {}
        self._builder = self._start(side)

    def read(self) -> Graph:
        if len(self._graph.output) != 1:
            names = ", ".join(f"'{output.name}'" for output in self._graph.output)
            raise ModelError(f"the model has {len(self._graph.output)} outputs ({names}), expected one")
        output = self._graph.output[0].name
        for node in self._needed(output):
            self._map(node)
        return self._builder.graph(self._value(output, f"the output '{output}'").name)

    def _start(self, side: int) -> GraphBuilder:
        inputs = [tensor for tensor in self._graph.input if tensor.name not in self._constants]
        if len(inputs) != 1:
            names = ", ".join(f"'{tensor.name}'" for tensor in inputs)
            raise ModelError(f"the model has {len(inputs)} inputs ({names}), expected one image")
        name = inputs[0].name
        sides = [int(one.dim_value) for one in inputs[0].type.tensor_type.shape.dim]
        if len(sides) != 4:
            raise ModelError(f"input '{name}' has {len(sides)} dimensions, expected 4: a batch of images")
        layout = "NHWC" if sides[3] == 3 and sides[1] != 3 else "NCHW"
        height, width = (sides[axis] or side for axis in _HEIGHT_WIDTH[layout])
        self._values[name] = _Value(name, layout)
        return GraphBuilder(name, (height, width, sides[3] if layout == "NHWC" else sides[1] or 3))

    def _needed(self, output: str) -> list[onnx.NodeProto]:
        """The nodes that `output` depends on, in the file's order, which has to be a topological one."""
        wanted = {output}
        nodes = []
        for node in reversed(self._graph.node):
            if wanted.intersection(node.output):
                wanted.update(node.input)
                nodes.append(node)
        return nodes[::-1]

    def _map(self, node: onnx.NodeProto) -> None:
        if not node.output or not node.output[0]:
            raise ModelError(f"{node.op_type} node '{node.name}' has no output")
        name = node.name or node.output[0]
        if node.op_type == "Constant":
            self._add_constant(node, name)
            return
        if node.op_type == "Identity" and self._is_constant(node, 0):  # PyTorch's exporter shares equal weights so
            self._constants[node.output[0]] = self._constants[node.input[0]]
            return
        mapping = _MAPPINGS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if mapping is None:
            for output in node.output:
                self._values[output] = _Unmapped(node.op_type, name)
            return
        self._values[node.output[0]] = mapping(self, node, name)

    def _add_constant(self, node: onnx.NodeProto, name: str) -> None:
        tensor = Attributes(node).tensor("value")
        if tensor is None:
            self._values[node.output[0]] = _Unmapped(node.op_type, name)
        else:
            self._constants[node.output[0]] = tensor

    def _value(self, tensor: str, where: str) -> _Value:
        value = self._values.get(tensor)
        if value is None:
            what = "is a constant, expected an activation" if tensor in self._constants else "is not computed before it"
            raise ModelError(f"{where}: '{tensor}' {what}")
        if isinstance(value, _Unmapped):
            raise ModelError(f"operator '{value.operator}' (node '{value.node}') can't be mapped to the device")
        return value

    def _input(self, node: onnx.NodeProto, index: int = 0) -> _Value:
        where = f"{node.op_type} node '{node.name or node.output[0]}'"
        if index >= len(node.input):
            raise ModelError(f"{where} has {len(node.input)} inputs")
        return self._value(node.input[index], where)

    def _image(self, node: onnx.NodeProto) -> _Value:
        """The input of a node for which ONNX fixes the order NCHW."""
        value = self._input(node)
        if value.layout != "NCHW" and self._builder.shapes[value.name][:2] != (1, 1):
            raise ModelError(
                f"{node.op_type} node '{node.name}' works on NCHW, its input is NHWC: a Transpose is missing"
            )
        return value

    def _is_constant(self, node: onnx.NodeProto, index: int) -> bool:
        return len(node.input) > index and node.input[index] in self._constants

    def _constant(self, node: onnx.NodeProto, index: int) -> Array:
        if not self._is_constant(node, index):
            given = f"'{node.input[index]}'" if len(node.input) > index else "nothing"
            raise ModelError(
                f"{node.op_type} node '{node.name or node.output[0]}': input {index} is {given}, expected a constant "
                "that is in the file"
            )
        return array(self._constants[node.input[index]], self._folder)

    def _floats(self, node: onnx.NodeProto, index: int) -> Float32:
        return float_array(node.input[index] if len(node.input) > index else "", self._constant(node, index))

    def _integers(self, node: onnx.NodeProto, index: int, attribute: str) -> tuple[int, ...]:
        """Integers that older operator sets have in an attribute and newer ones in an input."""
        found = Attributes(node).integers(attribute)
        if found or not self._is_constant(node, index):
            return found
        return tuple(int(one) for one in self._constant(node, index).ravel())

    def _conv(self, node: onnx.NodeProto, name: str) -> _Value:
        value, attributes = self._image(node), Attributes(node)
        weights = self._floats(node, 1)
        if weights.ndim != 4:
            raise ModelError(
                f"Conv node '{name}' has weights of {weights.ndim} dimensions; only 2-D convolution is mapped"
            )
        kernel = (int(weights.shape[2]), int(weights.shape[3]))
        if attributes.integer("group", 1) != 1:
            raise ModelError(f"Conv node '{name}' has {attributes.integer('group', 1)} groups; only one is mapped")
        if any(step != 1 for step in attributes.integers("dilations")):
            raise ModelError(f"Conv node '{name}' has dilations {attributes.integers('dilations')}; only 1 is mapped")
        stride, padding = self._window(attributes, name, kernel, value)
        bias = self._floats(node, 2) if len(node.input) > 2 and node.input[2] else np.zeros(len(weights), np.float32)
        weights = np.ascontiguousarray(weights.transpose(0, 2, 3, 1))
        added = graph.Convolution(name, value.name, node.output[0], weights, bias, stride, padding)
        return replace(value, name=self._builder.add(added))

    def _batch_norm(self, node: onnx.NodeProto, name: str) -> _Value:
        value, attributes = self._image(node), Attributes(node)
        if attributes.integer("training_mode", 0):
            raise ModelError(f"BatchNormalization node '{name}' is in training mode; export the model for inference")
        gamma, beta, mean, variance = parameters = [self._floats(node, index) for index in range(1, 5)]
        if len({one.shape for one in parameters}) > 1:
            shapes = ", ".join(str(list(one.shape)) for one in parameters)
            raise ModelError(f"BatchNormalization node '{name}' has parameters of the shapes {shapes}, expected one")
        with np.errstate(all="ignore"):  # the builder refuses infinity and NaN, with the node's name
            scale = gamma / np.sqrt(variance + np.float32(attributes.real("epsilon", 1e-5)))
            shift = beta - mean * scale
        return replace(value, name=self._builder.add(graph.Affine(name, value.name, node.output[0], scale, shift)))

    def _relu(self, node: onnx.NodeProto, name: str) -> _Value:
        value = self._input(node)
        return replace(value, name=self._builder.add(graph.Relu(name, value.name, node.output[0])))

    def _add(self, node: onnx.NodeProto, name: str) -> _Value:
        if len(node.input) != 2:
            raise ModelError(f"{node.op_type} node '{name}' has {len(node.input)} inputs, expected 2")
        for index in (0, 1):
            if self._is_constant(node, index):
                return self._add_bias(node, name, self._input(node, 1 - index), self._floats(node, index))
        left, right = self._input(node, 0), self._input(node, 1)
        if left.layout != right.layout:
            raise ModelError(
                f"{node.op_type} node '{name}' adds values of the layouts {left.layout} and {right.layout}"
            )
        return replace(left, name=self._builder.add(graph.Add(name, left.name, right.name, node.output[0])))

    def _add_bias(self, node: onnx.NodeProto, name: str, value: _Value, bias: Float32) -> _Value:
        height, width, channels = self._builder.shapes[value.name]
        along_channels = (channels, 1, 1) if value.layout == "NCHW" else (channels,)
        fits = (height, width) == (1, 1) or bias.shape[-len(along_channels) :] == along_channels
        if bias.size != 1 and not (fits and bias.size == channels):
            raise ModelError(f"{node.op_type} node '{name}' adds a constant of the shape {list(bias.shape)}")
        shift = np.ascontiguousarray(np.broadcast_to(bias.ravel(), channels))
        scale = np.ones(channels, np.float32)
        return replace(value, name=self._builder.add(graph.Affine(name, value.name, node.output[0], scale, shift)))

    def _max_pool(self, node: onnx.NodeProto, name: str) -> _Value:
        value, attributes = self._image(node), Attributes(node)
        if any(step != 1 for step in attributes.integers("dilations")):
            raise ModelError(f"MaxPool node '{name}' has dilations; they are not mapped")
        if len(node.output) > 1 and node.output[1]:
            raise ModelError(f"MaxPool node '{name}' also gives indices; they are not mapped")
        kernel = _pair(attributes.integers("kernel_shape"), "MaxPool", name)
        stride, padding = self._window(attributes, name, kernel, value)
        added = graph.MaxPool(name, value.name, node.output[0], kernel, stride, padding)
        return replace(value, name=self._builder.add(added))

    def _window(
        self, attributes: Attributes, name: str, kernel: tuple[int, int], value: _Value
    ) -> tuple[tuple[int, int], Padding]:
        """Stride and padding (top, left, bottom, right) with `auto_pad` and `ceil_mode` worked out."""
        stride = _pair(attributes.integers("strides") or (1, 1), "window of", name)
        pads = attributes.integers("pads") or (0, 0, 0, 0)
        if len(pads) != 4 or min(*stride, *kernel) < 1:
            raise ModelError(f"node '{name}': kernel {kernel}, strides {stride} or pads {pads} can't be used")
        top, left, bottom, right = pads
        automatic = attributes.text("auto_pad", "NOTSET")
        sizes = self._builder.shapes[value.name][:2]
        if automatic in ("SAME_UPPER", "SAME_LOWER"):
            missing = [
                max(0, (-(-size // step) - 1) * step + side - size)
                for size, step, side in zip(sizes, stride, kernel, strict=True)
            ]
            less, more = [one // 2 for one in missing], [one - one // 2 for one in missing]
            (top, left), (bottom, right) = (less, more) if automatic == "SAME_UPPER" else (more, less)
        elif automatic == "VALID":
            top = left = bottom = right = 0
        elif automatic != "NOTSET":
            raise ModelError(f"node '{name}': auto_pad '{automatic}' is unknown")
        if attributes.integer("ceil_mode", 0):
            bottom = _ceiling(sizes[0], top, bottom, kernel[0], stride[0])
            right = _ceiling(sizes[1], left, right, kernel[1], stride[1])
        return stride, (top, left, bottom, right)

    def _pad(self, node: onnx.NodeProto, name: str) -> _Value:
        value, attributes = self._input(node), Attributes(node)
        pads = self._integers(node, 1, "pads")
        filled = self._floats(node, 2).ravel() if len(node.input) > 2 and node.input[2] else np.zeros(1, np.float32)
        mode = attributes.text("mode", "constant")
        if len(pads) != 8 or len(node.input) > 3 or mode != "constant" or attributes.real("value", 0) or filled.any():
            raise ModelError(f"Pad node '{name}': only zeros around height and width are mapped")
        height, width = _HEIGHT_WIDTH[value.layout]
        padding = (pads[height], pads[width], pads[4 + height], pads[4 + width])
        if sum(map(abs, pads)) != sum(map(abs, padding)):
            raise ModelError(f"Pad node '{name}': only zeros around height and width are mapped")
        return replace(value, name=self._builder.add(graph.Pad(name, value.name, node.output[0], padding)))

    def _average_pool(self, node: onnx.NodeProto, name: str) -> _Value:
        attributes, shape = Attributes(node), self._builder.shapes[self._image(node).name]
        if attributes.integers("kernel_shape") != shape[:2] or any(attributes.integers("pads")):
            raise ModelError(
                f"AveragePool node '{name}' has a window of {list(attributes.integers('kernel_shape'))} on "
                f"{shape[0]} x {shape[1]}; only the mean of all positions is mapped"
            )
        return self._global_average_pool(node, name)

    def _global_average_pool(self, node: onnx.NodeProto, name: str) -> _Value:
        value = self._image(node)
        return replace(value, name=self._builder.add(graph.GlobalAveragePool(name, value.name, node.output[0])))

    def _reduce_mean(self, node: onnx.NodeProto, name: str) -> _Value:
        value = self._input(node)
        axes = sorted(axis % 4 for axis in self._integers(node, 1, "axes"))
        if axes != list(_HEIGHT_WIDTH[value.layout]):
            raise ModelError(f"ReduceMean node '{name}' is over the axes {axes}; only height and width are mapped")
        return replace(value, name=self._builder.add(graph.GlobalAveragePool(name, value.name, node.output[0])))

    def _flatten(self, node: onnx.NodeProto, name: str) -> _Value:
        """Flatten, Reshape and Squeeze: mapped where nothing but the channels is left, so that they change nothing."""
        value = self._input(node)
        height, width, channels = self._builder.shapes[value.name]
        if (height, width) != (1, 1):
            raise ModelError(
                f"{node.op_type} node '{name}' works on {height} x {width} positions; only pooled ones are mapped"
            )
        if node.op_type == "Flatten" and Attributes(node).integer("axis", 1) not in (1, -3, -1):
            raise ModelError(f"Flatten node '{name}' would mix images (axis {Attributes(node).integer('axis', 1)})")
        if node.op_type == "Reshape" and self._is_constant(node, 1):
            sides = [int(one) for one in self._constant(node, 1).ravel()]
            if all(one > 0 for one in sides[1:]) and np.prod(sides[1:], dtype=float) != channels:
                raise ModelError(f"Reshape node '{name}' makes {sides} of {channels} channels, which would mix images")
        return value

    def _transpose(self, node: onnx.NodeProto, name: str) -> _Value:
        value, order = self._input(node), Attributes(node).integers("perm")
        if value.layout == "NHWC" and order == (0, 3, 1, 2):
            return replace(value, layout="NCHW")
        if value.layout == "NCHW" and order == (0, 2, 3, 1):
            return replace(value, layout="NHWC")
        raise ModelError(f"Transpose node '{name}' has the order {list(order)}; only NHWC to NCHW and back are mapped")

    def _identity(self, node: onnx.NodeProto, name: str) -> _Value:
        if node.op_type == "Dropout" and self._is_constant(node, 2) and self._constant(node, 2).any():
            raise ModelError(f"Dropout node '{name}' is in training mode; export the model for inference")
        return self._input(node)

    def _gemm(self, node: onnx.NodeProto, name: str) -> _Value:
        value, attributes = self._input(node), Attributes(node)
        weights = self._floats(node, 1)
        if weights.ndim != 2 or attributes.integer("transA", 0):
            raise ModelError(f"Gemm node '{name}' is no product of features and a matrix of constants")
        if not attributes.integer("transB", 0):
            weights = weights.T
        weights = np.ascontiguousarray(weights * np.float32(attributes.real("alpha", 1)))
        bias = self._floats(node, 2).ravel() if len(node.input) > 2 and node.input[2] else np.zeros(1, np.float32)
        bias = bias * np.float32(attributes.real("beta", 1))
        if bias.size == 1:
            bias = np.full(len(weights), bias[0], np.float32)
        return replace(value, name=self._builder.add(graph.Dense(name, value.name, node.output[0], weights, bias)))

    def _matmul(self, node: onnx.NodeProto, name: str) -> _Value:
        value, weights = self._input(node), self._floats(node, 1)
        if weights.ndim != 2:
            raise ModelError(f"MatMul node '{name}' has constants of {weights.ndim} dimensions, expected a matrix")
        bias = np.zeros(weights.shape[1], np.float32)
        weights = np.ascontiguousarray(weights.T)
        return replace(value, name=self._builder.add(graph.Dense(name, value.name, node.output[0], weights, bias)))

    def _last_softmax(self, node: onnx.NodeProto, name: str) -> _Value:
        value = self._input(node)
        if node.output[0] != self._graph.output[0].name:
            raise ModelError(
                f"operator 'Softmax' (node '{name}') can't be mapped to the device unless it is the last one"
            )
        return value


def _pair(values: tuple[int, ...], what: str, name: str) -> tuple[int, int]:
    if len(values) != 2:
        raise ModelError(f"{what} '{name}' has {len(values)} dimensions, expected 2")
    return values[0], values[1]


def _ceiling(size: int, before: int, after: int, kernel: int, stride: int) -> int:
    """The padding after the last position that makes the ordinary, rounded-down count of windows the rounded-up one."""
    count = -(-(size + before + after - kernel) // stride) + 1
    if (count - 1) * stride >= size + before:  # ONNX: no window starts in the padding at the end
        count -= 1
    return max(after, (count - 1) * stride + kernel - size - before)


_MAPPINGS: dict[str, Callable[[_Reader, onnx.NodeProto, str], _Value]] = {
    "Conv": _Reader._conv,
    "BatchNormalization": _Reader._batch_norm,
    "Relu": _Reader._relu,
    "Add": _Reader._add,
    "Sum": _Reader._add,
    "MaxPool": _Reader._max_pool,
    "Pad": _Reader._pad,
    "AveragePool": _Reader._average_pool,
    "GlobalAveragePool": _Reader._global_average_pool,
    "ReduceMean": _Reader._reduce_mean,
    "Flatten": _Reader._flatten,
    "Reshape": _Reader._flatten,
    "Squeeze": _Reader._flatten,
    "Transpose": _Reader._transpose,
    "Identity": _Reader._identity,
    "Dropout": _Reader._identity,
    "Gemm": _Reader._gemm,
    "MatMul": _Reader._matmul,
    "Softmax": _Reader._last_softmax,
}
