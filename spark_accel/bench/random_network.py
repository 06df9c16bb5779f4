"""A ResNet50 v1.5 with random weights as an ONNX file: as much work as the real one, good for measuring speed only."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

_STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))  # blocks, inner channels
_QUIET = 0.3  # of a block's last convolution, so that values don't grow from block to block


def write(
    path: Path, *, side: int = 224, thinner: int = 1, stages: int = 4, classes: int = 1000, seed: int = 0
) -> Path:
    """Writes the network for images of `side` pixels; channels are divided by `thinner`, last stages left out."""
    network = _Network(np.random.default_rng(seed))
    x = network.convolution("input", 3, 64 // thinner, 7, 2)
    x = network.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64 // thinner
    for stage, (blocks, inner) in enumerate((count, width // thinner) for count, width in _STAGES[:stages]):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = network.convolution(x, channels, inner, 1, 1)
            y = network.convolution(y, inner, inner, 3, stride)
            y = network.convolution(y, inner, 4 * inner, 1, 1, scale=_QUIET, relu=False)
            shortcut = x if block else network.convolution(x, channels, 4 * inner, 1, stride, relu=False)
            x, channels = network.add("Relu", [network.add("Add", [y, shortcut])]), 4 * inner
    x = network.add("Flatten", [network.add("GlobalAveragePool", [x])], axis=1)
    onnx.save(network.proto(network.dense(x, channels, classes), side), path)
    return path


class _Network:
    """Collects nodes and weights; each method returns the name of what it puts out."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: list[str], **attributes: Any) -> str:  # noqa: ANN401 - as ONNX has them
        name = f"{kind.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def convolution(
        self, x: str, channels: int, out: int, side: int, stride: int, *, scale: float = 1.0, relu: bool = True
    ) -> str:
        deviation = scale * np.sqrt(2 / (channels * side * side))
        weights = self._constant(self._rng.normal(0, deviation, (out, channels, side, side)))
        bias = self._constant(self._rng.normal(0, 0.1, out))
        y = self.add("Conv", [x, weights, bias], kernel_shape=[side] * 2, strides=[stride] * 2, pads=[side // 2] * 4)
        return self.add("Relu", [y]) if relu else y

    def dense(self, x: str, channels: int, classes: int) -> str:
        weights = self._constant(self._rng.normal(0, channels**-0.5, (classes, channels)))
        return self.add("Gemm", [x, weights, self._constant(np.zeros(classes))], transB=1)

    def proto(self, output: str, side: int) -> onnx.ModelProto:
        image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, side, side])
        logits = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self._nodes, "resnet50", [image], [logits], self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 8
        return model

    def _constant(self, values: npt.NDArray[np.float64]) -> str:
        name = f"weights{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name
