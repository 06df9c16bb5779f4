"""Makes a float graph into the layers that run: batch norm, ReLU, residual add, padding and preprocessing become parts
of the convolutions. What is left over has no layer to be a part of, and is an error that names the node.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np

from spark_accel.errors import ModelError
from spark_accel.networks import graph
from spark_accel.networks.float_network import FloatLayer, FloatNetwork, FusedConvolution
from spark_accel.networks.graph import Graph, Node, Padding
from spark_accel.networks.plan import INPUT
from spark_accel.networks.preprocessing import Preprocessing
from spark_accel.networks.windows import Window

_NO_PADDING = (0, 0, 0, 0)


def fold(source: Graph, preprocessing: Preprocessing) -> FloatNetwork:
    """The layers of a graph whose images are prepared by `preprocessing`; ModelError for nodes without a place."""
    return _Folder(source, preprocessing).fold()


@dataclass(frozen=True)
class _Value:
    """What a value of the graph has become: a layer's output, with zeros around it that its consumer has to supply."""

    layer: str
    padding: Padding = _NO_PADDING


class _Folder:
    def __init__(self, source: Graph, preprocessing: Preprocessing) -> None:
        self._graph = source
        self._preprocessing = preprocessing
        self._layers: dict[str, FloatLayer] = {}  # by output; in the order in which their last part was added
        self._depth = {INPUT: 0}
        self._values = {source.input: _Value(INPUT)}
        self._uses = Counter(name for node in source.nodes for name in _inputs(node))
        self._uses[source.output] += 1

    def fold(self) -> FloatNetwork:
        for node in self._graph.nodes:
            self._values[node.output] = self._fold(node)
        last = self._values[self._graph.output]
        layers = tuple(self._layers.values())
        if not layers or last.layer != layers[-1].output or not isinstance(layers[-1], graph.Dense):
            raise ModelError(f"output '{self._graph.output}' is not that of a dense layer (Gemm, MatMul, Dense)")
        for layer in layers[:-1]:
            if isinstance(layer, graph.Dense):
                raise ModelError(f"dense layer '{layer.name}' is not the last one; only one, at the end, is mapped")
        height, width, _ = self._graph.shapes[self._graph.input]
        return FloatNetwork(height, width, layers)

    def _fold(self, node: Node) -> _Value:
        if isinstance(node, graph.Pad):
            return self._pad(node)
        if isinstance(node, graph.Convolution):
            return self._convolution(node)
        if isinstance(node, graph.Affine):
            return self._affine(node)
        if isinstance(node, graph.Relu):
            return self._relu(node)
        if isinstance(node, graph.Add):
            return self._add(node)
        return self._pool_or_dense(node)

    def _pad(self, node: graph.Pad) -> _Value:
        value = self._values[node.input]
        return replace(value, padding=_sum(value.padding, node.padding))

    def _convolution(self, node: graph.Convolution) -> _Value:
        value = self._values[node.input]
        window = Window(node.weights.shape[1:3], node.stride, _sum(value.padding, node.padding))
        if any(side >= window.kernel[i % 2] for i, side in enumerate(window.padding)):
            raise ModelError(
                f"node '{node.name}': padding {window.padding} is not smaller than the kernel {window.kernel}"
            )
        weights, bias, pad_value = node.weights, node.bias, np.zeros(node.weights.shape[3], np.float32)
        if value.layer == INPUT:
            scale, shift = (np.array(one, np.float32) for one in (self._preprocessing.scale, self._preprocessing.shift))
            bias = bias + (weights @ shift).sum(axis=(1, 2))
            weights = np.ascontiguousarray((weights * scale)[..., np.argsort(self._preprocessing.order)])
            pad_value = self._preprocessing.mean
        return self._put(
            FusedConvolution(node.name, value.layer, node.output, weights, bias, window, pad_value, relu=False)
        )

    def _affine(self, node: graph.Affine) -> _Value:
        layer = self._open(node.input)
        if isinstance(layer, FusedConvolution) and layer.residual is None:
            weights, bias = layer.weights * node.scale[:, None, None, None], layer.bias * node.scale + node.shift
        elif isinstance(layer, graph.Dense):
            weights, bias = layer.weights * node.scale[:, None], layer.bias * node.scale + node.shift
        else:
            self._refuse(node, "is a batch norm or bias that follows no convolution or dense layer of its own")
        return self._put(replace(layer, weights=weights, bias=bias))

    def _relu(self, node: graph.Relu) -> _Value:
        layer = self._open(node.input)
        if not isinstance(layer, FusedConvolution):
            self._refuse(node, "is a ReLU that follows no convolution or addition of its own")
        return self._put(replace(layer, relu=True))

    def _add(self, node: graph.Add) -> _Value:
        candidates = [
            (layer, other)
            for one, other in ((node.input, node.other), (node.other, node.input))
            if isinstance(layer := self._open(one), FusedConvolution) and layer.residual is None
        ]
        if not candidates or self._values[node.input].padding != self._values[node.other].padding:
            self._refuse(node, "adds two values of which none is a convolution's that goes only there")
        # The branch with more layers takes the addition: the shortcut's convolution is ready before it.
        layer, other = max(candidates, key=lambda one: self._depth[one[0].output])
        if self._values[other].layer == INPUT:
            self._refuse(node, "adds the image itself, which has no scale of its own")
        return self._put(replace(layer, residual=self._values[other].layer))

    def _pool_or_dense(self, node: graph.MaxPool | graph.GlobalAveragePool | graph.Dense) -> _Value:
        value = self._values[node.input]
        source = self._layers.get(value.layer)
        if value.layer == INPUT:
            self._refuse(node, "works on the image; the first layer has to be a convolution")
        if isinstance(node, graph.MaxPool):
            if any(value.padding) and not (isinstance(source, FusedConvolution) and source.relu):
                self._refuse(node, "takes the maximum over values with zeros around them that may be negative")
            padding = _sum(value.padding, node.padding)
            if any(side >= node.kernel[i % 2] for i, side in enumerate(padding)):
                raise ModelError(f"node '{node.name}': padding {padding} is not smaller than the kernel {node.kernel}")
            return self._put(replace(node, input=value.layer, padding=padding))
        if any(value.padding):
            self._refuse(node, "works on a padded value; only convolutions and max-pools can")
        return self._put(replace(node, input=value.layer))

    def _open(self, value: str) -> FloatLayer | None:
        """The layer that gives a value, if more can be made part of it: nothing else uses the value, no ReLU yet."""
        layer = self._layers.get(self._values[value].layer)
        if self._uses[value] != 1 or any(self._values[value].padding):
            return None
        return None if isinstance(layer, FusedConvolution) and layer.relu else layer

    def _put(self, layer: FloatLayer) -> _Value:
        self._layers.pop(layer.output, None)  # to the end: after its residual
        self._layers[layer.output] = layer
        self._depth[layer.output] = 1 + self._depth[layer.input]
        return _Value(layer.output)

    @staticmethod
    def _refuse(node: Node, reason: str) -> NoReturn:
        raise ModelError(f"node '{node.name}' {reason}; it can't be mapped to the device")


def _inputs(node: Node) -> tuple[str, ...]:
    return (node.input, node.other) if isinstance(node, graph.Add) else (node.input,)


def _sum(one: Padding, other: Padding) -> Padding:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3]
