"""A network as the engine runs it: convolutions with the pooling that follows them, and one dense layer.

What the engine can't run raises UnsupportedNetwork. The first layer reads packed images: see `image_layout`.
"""

from collections import Counter
from dataclasses import dataclass
from math import gcd

import numpy as np
import numpy.typing as npt

from spark_accel.errors import AccelError
from spark_accel.fpga.engine import Engine
from spark_accel.networks.plan import (
    INPUT,
    Convolution,
    Dense,
    GlobalAveragePool,
    Int8,
    MaxPool,
    Plan,
    UInt8,
    output_shape,
)

Shape = tuple[int, int, int]
WINDOW = 3  # rows and columns of a pooling window at most, as in fpga_program.h


class UnsupportedNetwork(AccelError):  # noqa: N818 - it is the network that is at fault
    """The engine can't run a network, of which another tier can."""


@dataclass(frozen=True, eq=False)
class Stage:
    """A layer of the engine. `input`, `sums` and `stored` are the shapes (rows, columns, channels) of what it reads, of
    what the array makes of it, and of what is stored; `output` and `residual` are activations' names.

    `weights`: int8 [out, rows, columns, in]; `pads`: uint8 [in].
    """

    layer: Convolution | Dense
    pool: MaxPool | GlobalAveragePool | None
    source: str
    output: str
    input: Shape
    sums: Shape
    stored: Shape
    weights: Int8
    stride: tuple[int, int]
    padding: tuple[int, int]  # top, left
    pads: UInt8

    @property
    def name(self) -> str:
        """The layer's."""
        return self.layer.name

    @property
    def residual(self) -> str | None:
        """What is added."""
        return self.layer.residual if isinstance(self.layer, Convolution) else None

    def tiles(self, engine: Engine) -> int:
        """How often the input is walked: once for `lanes` output channels."""
        return -(-self.sums[2] // engine.lanes)

    def segments(self, engine: Engine) -> int:
        """Of a row of sums."""
        return -(-self.sums[1] // engine.pix)

    def beats(self, engine: Engine) -> int:
        """Cycles in which the sums of a segment are made; also the words of a tile's weights."""
        return int(self.weights.shape[1] * self.weights.shape[2]) * -(-self.input[2] // engine.vec)


def stages(plan: Plan, engine: Engine) -> list[Stage]:
    """The stages of a valid plan; raises UnsupportedNetwork."""
    shapes = plan.shapes()
    uses = Counter(name for layer in plan.layers for name in _reads(layer))
    _check_image(plan)
    found: list[Stage] = []
    layers = list(plan.layers)
    while layers:
        layer = layers.pop(0)
        if not isinstance(layer, Convolution | Dense):
            raise UnsupportedNetwork(f"layer '{layer.name}' pools what no convolution makes for it alone")
        pools = [one for one in layers if isinstance(one, MaxPool | GlobalAveragePool) and one.input == layer.output]
        pool = pools[0] if pools and uses[layer.output] == 1 and isinstance(layer, Convolution) else None
        if pool is not None:
            layers.remove(pool)
        stage = _stage(layer, pool, shapes)
        _check(stage, engine)
        found.append(stage)
    return found


def packed(images: UInt8, stage: Stage, engine: Engine) -> UInt8:
    """Images as stage `stage`, the first one, reads them: uint8 [n, row, segment, block, pix, vec].

    images: uint8 [n, height, width, 3].
    """
    layer = stage.layer
    assert isinstance(layer, Convolution)  # noqa: S101 - stages() has made it of one
    rows, columns, channels = stage.input
    n, height, width, colors = images.shape
    (stride, step), (_, kernel_columns) = layer.stride, layer.weights.shape[1:3]
    top, left = layer.padding[:2]
    padded = np.empty((n, rows * stride, (columns - 1) * step + kernel_columns, colors), np.uint8)
    padded[:] = layer.pad_value
    inside = padded[:, top : top + height, left : left + width]
    inside[:] = images[:, : inside.shape[1], : inside.shape[2]]
    windows = np.lib.stride_tricks.as_strided(
        padded,
        (n, rows, columns, stride, kernel_columns * colors),
        (
            padded.strides[0],
            padded.strides[1] * stride,
            padded.strides[2] * step,
            padded.strides[1],
            padded.strides[3],
        ),
        writeable=False,
    )
    blocks, segments = -(-channels // engine.vec), -(-columns // engine.pix)
    filled = np.zeros((n, rows, segments * engine.pix, blocks * engine.vec), np.uint8)
    filled[:, :, :columns, :channels] = windows.reshape(n, rows, columns, channels)
    parts = filled.reshape(n, rows, segments, engine.pix, blocks, engine.vec)
    return np.ascontiguousarray(parts.transpose(0, 1, 2, 4, 3, 5))


def _reads(layer: Convolution | Dense | MaxPool | GlobalAveragePool) -> list[str]:
    residual = layer.residual if isinstance(layer, Convolution) else None
    return [layer.input, *([residual] if residual else [])]


def _stage(layer: Convolution | Dense, pool: MaxPool | GlobalAveragePool | None, shapes: dict[str, Shape]) -> Stage:
    source = shapes[layer.input]
    if isinstance(layer, Dense):
        sums = (1, 1, layer.weights.shape[0])
        weights = layer.weights[:, np.newaxis, np.newaxis]
        pads = np.zeros(source[2], np.uint8)
        return Stage(layer, None, layer.input, layer.output, source, sums, sums, weights, (1, 1), (0, 0), pads)
    sums = output_shape(layer, source)
    stored = sums if pool is None else output_shape(pool, sums)
    output = layer.output if pool is None else pool.output
    if layer.input != INPUT:
        stride, padding = layer.stride, layer.padding[:2]
        return Stage(
            layer, pool, layer.input, output, source, sums, stored, layer.weights, stride, padding, layer.pad_value
        )
    # The three colours of an image would leave most of `vec` idle. So the rows that a stride skips and all columns of
    # the window become channels: 7 x 7 x 3 at stride 2 turns into 4 x 1 x 42.
    out, rows, columns, colors = layer.weights.shape
    skipped = layer.stride[0]
    taps = -(-rows // skipped)
    filled = np.zeros((out, taps * skipped, columns, colors), np.int8)
    filled[:, :rows] = layer.weights
    weights = filled.reshape(out, taps, 1, skipped * columns * colors)
    shape = (sums[0] - 1 + taps, sums[1], skipped * columns * colors)
    pads = np.zeros(shape[2], np.uint8)
    return Stage(layer, pool, INPUT, output, shape, sums, stored, weights, (1, 1), (0, 0), pads)


def _check_image(plan: Plan) -> None:
    """The image is packed as one convolution wants it: no other layer can read it, and nothing can add it."""
    first, *others = (layer for layer in plan.layers for name in _reads(layer) if name == INPUT)
    if others:
        raise UnsupportedNetwork(
            f"layer '{others[0].name}' reads the image, which is packed for the convolution of layer '{first.name}'"
        )
    if isinstance(first, Dense):
        raise UnsupportedNetwork(f"layer '{first.name}' is dense and reads the image, which is packed for convolutions")


def _check(stage: Stage, engine: Engine) -> None:
    where = f"layer '{stage.name}'"
    if gcd(stage.stride[1], engine.pix) > 1:
        raise UnsupportedNetwork(f"{where}: a stride of {stage.stride[1]} for segments of {engine.pix} pixels")
    if stage.beats(engine) > engine.weight_words:
        raise UnsupportedNetwork(
            f"{where}: {stage.beats(engine)} words of weights a tile, the engine has room for"
            f" {engine.weight_words}: build one with WEIGHT_WORDS={stage.beats(engine)} or more"
        )
    if isinstance(stage.pool, MaxPool):
        _check_pool(f"layer '{stage.pool.name}'", stage.pool, stage, engine)


def _check_pool(where: str, pool: MaxPool, stage: Stage, engine: Engine) -> None:
    if max(pool.kernel) > WINDOW:
        raise UnsupportedNetwork(f"{where}: a window of {pool.kernel}, at most {WINDOW} x {WINDOW}")
    if stage.stored[1] > engine.pool_columns:
        raise UnsupportedNetwork(
            f"{where}: {stage.stored[1]} columns, the engine has room for {engine.pool_columns}: build one with"
            f" POOL_COLUMNS={stage.stored[1]} or more"
        )
    for axis in (0, 1):
        ends = (stage.stored[axis] - 2) * pool.stride[axis] - pool.padding[axis] + pool.kernel[axis]
        if stage.stored[axis] > 1 and ends >= stage.sums[axis]:
            raise UnsupportedNetwork(f"{where}: two windows end at the edge of its input of {stage.sums[:2]}")


def real_products(stage: Stage) -> int:
    """Multiplications of an image that the network asks for: none for what is filled up."""
    rows, columns, _ = stage.sums
    weights: npt.NDArray[np.int8] = stage.layer.weights
    return rows * columns * weights.size
