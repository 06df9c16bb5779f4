"""Small ResNets of all shapes as ONNX files with random weights, in the ways that exporters write them."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class Model:
    """Collects the nodes of one file; each method returns the name of its output."""

    def __init__(self, seed: int = 0, side: int | str = 64, layout: str = "NCHW") -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        shape = ["N", 3, side, side] if layout == "NCHW" else ["N", side, side, 3]
        self.input = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)

    def constant(self, values: npt.ArrayLike, name: str = "") -> str:
        name = name or f"constant{len(self.constants)}"
        array = np.asarray(values)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array.astype(np.int64)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [f"{name}:out"], name=name, **attributes))
        return f"{name}:out"

    def convolution(self, x: str, inputs: int, out: int, side: int, stride: int = 1, **attributes: object) -> str:
        """With weights that keep the size of values, without a bias."""
        weights = self.rng.normal(0, np.sqrt(2 / (inputs * side * side)), (out, inputs, side, side))
        if "auto_pad" not in attributes:
            attributes = {"pads": [side // 2] * 4} | attributes
        return self.op("Conv", x, self.constant(weights), kernel_shape=[side] * 2, strides=[stride] * 2, **attributes)

    def batch_norm(self, x: str, channels: int, epsilon: float = 1e-5) -> str:
        rng = self.rng
        tensors = (
            rng.uniform(0.5, 1, channels),
            rng.normal(0, 0.3, channels),
            rng.normal(0, 0.3, channels),
            rng.uniform(0.5, 2, channels),
        )
        return self.op("BatchNormalization", x, *map(self.constant, tensors), epsilon=epsilon)

    def dense(self, x: str, inputs: int, classes: int) -> str:
        weights = self.constant(self.rng.normal(0, 1 / np.sqrt(inputs), (classes, inputs)))
        return self.op("Gemm", x, weights, self.constant(self.rng.normal(0, 0.1, classes)), transB=1)

    def proto(self, output: str) -> onnx.ModelProto:
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "network", [self.input], [result], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 8
        return model

    def save(self, path: Path, output: str) -> Path:
        onnx.save(self.proto(output), path)
        return path


def resnet(
    depth: int, version: str = "v1.5", *, seed: int = 0, width: int = 8, classes: int = 10, side: int = 64
) -> Model:
    """As PyTorch exports it with batch norms unfolded; the last node's output is the logits. v1 strides first."""
    model = Model(seed, side)
    x = model.op("Relu", model.batch_norm(model.convolution("input", 3, width, 7, 2), width))
    x = model.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = width
    for stage, count in enumerate(BLOCKS[depth]):
        inner = width * 2**stage
        for block in range(count):
            stride = 2 if stage and not block else 1
            x, channels = _block(model, x, channels, inner, stride, bottleneck=depth >= 50, first=version == "v1")
    x = model.op("Flatten", model.op("GlobalAveragePool", x), axis=1)
    model.dense(x, channels, classes)
    return model


def _block(
    model: Model, x: str, channels: int, inner: int, stride: int, *, bottleneck: bool, first: bool
) -> tuple[str, int]:
    out = inner * 4 if bottleneck else inner
    shapes = [(inner, 1), (inner, 3), (out, 1)] if bottleneck else [(inner, 3), (out, 3)]
    strided = 1 if bottleneck and not first else 0
    y, taken = x, channels
    for index, (given, side) in enumerate(shapes):
        y = model.convolution(y, taken, given, side, stride if index == strided else 1)
        y = model.batch_norm(y, given)
        taken = given
        if index < len(shapes) - 1:
            y = model.op("Relu", y)
    if stride != 1 or channels != out:
        x = model.batch_norm(model.convolution(x, channels, out, 1, stride), out)
    return model.op("Relu", model.op("Add", y, x)), out
