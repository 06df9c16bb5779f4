"""The float graph that readers of file formats make: few kinds of nodes, every one with checked shapes.

Values are float32 [n, height, width, channels]; features after pooling are [n, 1, 1, channels]. `fold.py` turns a graph
into the layers that run.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from spark_accel.errors import ModelError
from spark_accel.networks.plan import MAX_CHANNELS, MAX_LAYERS, MAX_SIDE
from spark_accel.networks.windows import Window

Float32 = npt.NDArray[np.float32]
Shape = tuple[int, int, int]  # height, width, channels
Padding = tuple[int, int, int, int]  # top, left, bottom, right

_MAX_VALUES = 2**28  # of one activation of one image: 1 GiB of float32


@dataclass(frozen=True, eq=False)
class Convolution:
    """weights [out, kernel height, kernel width, in], bias [out]; zeros stand around the input."""

    name: str
    input: str
    output: str
    weights: Float32
    bias: Float32
    stride: tuple[int, int]
    padding: Padding


@dataclass(frozen=True, eq=False)
class Affine:
    """y = x * scale + shift, both [channels]: a batch norm in inference, or a bias that has its own node."""

    name: str
    input: str
    output: str
    scale: Float32
    shift: Float32


@dataclass(frozen=True, eq=False)
class Relu:
    """y = max(x, 0)."""

    name: str
    input: str
    output: str


@dataclass(frozen=True, eq=False)
class Add:
    """y = input + other, of equal shapes."""

    name: str
    input: str
    other: str
    output: str


@dataclass(frozen=True, eq=False)
class Pad:
    """Zeros around the input."""

    name: str
    input: str
    output: str
    padding: Padding


@dataclass(frozen=True, eq=False)
class MaxPool:
    """The maximum of each window; positions outside don't count."""

    name: str
    input: str
    output: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding


@dataclass(frozen=True, eq=False)
class GlobalAveragePool:
    """The mean over height and width, [n, 1, 1, channels]."""

    name: str
    input: str
    output: str


@dataclass(frozen=True, eq=False)
class Dense:
    """y = x @ weights.T + bias, with weights [classes, in] and bias [classes]."""

    name: str
    input: str
    output: str
    weights: Float32
    bias: Float32


Node = Convolution | Affine | Relu | Add | Pad | MaxPool | GlobalAveragePool | Dense


@dataclass(frozen=True)
class Graph:
    """Nodes, each after those that it needs; names of the image and of the answer; the shapes of all values."""

    input: str
    output: str
    nodes: tuple[Node, ...]
    shapes: dict[str, Shape]


@dataclass
class GraphBuilder:
    """Collects nodes for a reader; `add` checks each against the shapes so far, raising ModelError."""

    input: str
    shape: Shape
    nodes: list[Node] = field(default_factory=list)
    shapes: dict[str, Shape] = field(init=False)

    def __post_init__(self) -> None:
        height, width, channels = self.shape
        if channels != 3 or not 0 < height <= MAX_SIDE or not 0 < width <= MAX_SIDE:
            raise ModelError(
                f"input '{self.input}' is {height} x {width} with {channels} channels; expected 3 channels and sides "
                f"of 1 to {MAX_SIDE}"
            )
        self.shapes = {self.input: self.shape}

    def add(self, node: Node) -> str:
        """Appends a node whose inputs exist, and returns the name of its output."""
        if len(self.nodes) >= MAX_LAYERS:
            raise ModelError(f"the graph has more than {MAX_LAYERS} nodes")
        if node.output in self.shapes:
            raise ModelError(f"node '{node.name}': a value '{node.output}' exists already")
        shape = self._output_shape(node)
        if not 0 < math.prod(shape) <= _MAX_VALUES or shape[2] > MAX_CHANNELS:
            raise ModelError(f"node '{node.name}': its output would be {' x '.join(map(str, shape))}")
        self.nodes.append(node)
        self.shapes[node.output] = shape
        return node.output

    def graph(self, output: str) -> Graph:
        """The finished graph."""
        return Graph(self.input, output, tuple(self.nodes), self.shapes)

    def _output_shape(self, node: Node) -> Shape:
        height, width, channels = self.shapes[node.input]
        if isinstance(node, Convolution):
            self._expect(node, "weights", node.weights, (*node.weights.shape[:3], channels))
            self._expect(node, "bias", node.bias, node.weights.shape[:1])
            return *self._windows(node, Window(node.weights.shape[1:3], node.stride, node.padding)), len(node.bias)
        if isinstance(node, MaxPool):
            return *self._windows(node, Window(node.kernel, node.stride, node.padding)), channels
        if isinstance(node, Affine):
            self._expect(node, "scale", node.scale, (channels,))
            self._expect(node, "shift", node.shift, (channels,))
        elif isinstance(node, Add):
            if self.shapes[node.other] != (height, width, channels):
                raise ModelError(
                    f"node '{node.name}' adds values of the shapes {(height, width, channels)} and "
                    f"{self.shapes[node.other]}; only equal shapes can be added"
                )
        elif isinstance(node, Pad):
            if min(node.padding) < 0 or max(node.padding) > MAX_SIDE:
                raise ModelError(f"node '{node.name}': padding {node.padding} is out of range")
            return height + node.padding[0] + node.padding[2], width + node.padding[1] + node.padding[3], channels
        elif isinstance(node, GlobalAveragePool):
            return 1, 1, channels
        elif isinstance(node, Dense):
            if (height, width) != (1, 1):
                raise ModelError(f"node '{node.name}' multiplies {height} x {width} positions; pool them before")
            self._expect(node, "weights", node.weights, (*node.weights.shape[:1], channels))
            self._expect(node, "bias", node.bias, node.weights.shape[:1])
            return 1, 1, len(node.bias)
        return height, width, channels

    def _windows(self, node: Node, window: Window) -> tuple[int, int]:
        height, width, _ = self.shapes[node.input]
        rows, columns = 0, 0
        if min(*window.kernel, *window.stride) > 0 and min(window.padding) >= 0:
            rows, columns = window.outputs(height, width)
        if min(rows, columns) <= 0 or max(*window.kernel, *window.stride, *window.padding) > MAX_SIDE:
            raise ModelError(
                f"node '{node.name}': kernel {window.kernel}, stride {window.stride} and padding {window.padding} do "
                f"not fit its input of {height} x {width}"
            )
        return rows, columns

    @staticmethod
    def _expect(node: Node, what: str, array: Float32, shape: tuple[int, ...]) -> None:
        if array.shape != shape:
            raise ModelError(f"node '{node.name}': {what} are {list(array.shape)}, expected {list(shape)}")
        if not np.isfinite(array).all():
            raise ModelError(f"node '{node.name}': {what} hold infinity or NaN")
