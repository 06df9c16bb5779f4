"""Turns a layer plan into what a kernel reads that runs the whole network: a table of layers, and constants.

The tables are those of `kernels/network/x86_layers.h`; `opencl_launch.py` runs them. A tier's macros say how weights
lie: in panels of LANES * VECTORS output channels and, within a panel, in words of 32 bits. With PAIRS those of bytes
are listed.
"""

from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spark_accel.daemon.activation_memory import ActivationMemory, assign
from spark_accel.daemon.kernels import Tier
from spark_accel.daemon.listed_words import listed_words
from spark_accel.networks import winograd
from spark_accel.networks.plan import INPUT, Convolution, Dense, GlobalAveragePool, Layer, Plan, output_shape

WEIGHTS = (  # their layouts
    "int8 [out / PANEL][kernel row][column, in / 4][PANEL][4]",
    "int8 [out / PANEL][word][PANEL][4], words as listed",
)

IMAGES_A_GROUP = 4  # at most: enough that reading weights hardly counts
SLACK = 64  # bytes behind whatever kernels read or write: they do so in whole vectors
_WORD = 4  # bytes in one
_SHORTS = 2  # in one
_KINDS = ("convolution", "max_pool", "global_average_pool", "dense")
_SOURCES = ("in place", "copied windows", "copied rows", "winograd", "widened rows")
_ROWS = ("copied rows", "widened rows")
_SHORTS_TIME = 0.6  # that a word of shorts takes of the time of a word of bytes
_TILE_BYTES = 96 * 2**10  # of a tile's inputs: they stay in the second-level cache
_TILE_DOTS = 60_000  # instructions in a tile: some 10 to 20 microseconds, so that threads end a layer together
_TILE_CHANNELS = 256  # of a tile: enough for the copying of its inputs to hardly count
# Likewise where inputs are transformed: with a few threads, and with more, so that one image has tiles for them.
_FEW_THREADS = 4
_WINOGRAD_CHANNELS, _WINOGRAD_CHANNELS_OF_MANY = 128, 64
_WINOGRAD_UNITS = 6  # of 16 pixels, at least, whatever bytes and instructions they take: all read the weights once
_MAX_TILES = 2**19  # of a layer: kernels count them in 20 bits

Shape = tuple[int, int, int]


class Place(NamedTuple):
    """An activation's place in an arena: place_t of the kernels."""

    before: int  # bytes, an image where it is `of_group`
    of_group: bool  # whether it is there for all images of a group, or for one at a time


_NOWHERE = Place(-1, False)


@dataclass(frozen=True, eq=False)
class Program:
    """`layers` is layer_t [n] as [n, fields], which fit in 32 bits if arena and constants do; `constants` are bytes.

    The layers before `split` are made for one image at a time. Activations that only these use take `image_bytes`, the
    others `group_bytes` an image of a group, copied inputs `room_bytes` a thread. `places` are the activations' in
    their part, in bytes an image.
    """

    layers: npt.NDArray[np.int64]
    constants: npt.NDArray[np.uint8]
    split: int
    image_bytes: int
    group_bytes: int
    room_bytes: int
    places: dict[str, Place]


def suited_to_winograd(plan: Plan, tier: Tier) -> frozenset[str]:
    """The outputs of the layers that Winograd's algorithm can make."""
    panel = tier.defines["LANES"] * tier.defines["VECTORS"]
    return frozenset(
        layer.output for layer in plan.layers if isinstance(layer, Convolution) and winograd.suits(layer, panel)
    )


def program(plan: Plan, tier: Tier, by_winograd: frozenset[str], threads: int) -> Program:
    """The program of a valid plan for a tier whose layout of weights is in `WEIGHTS`, cut for so many threads.

    `by_winograd` are the outputs of the layers that are to be made by Winograd's algorithm, which suits them.
    """
    split = best_split(plan)
    memory = assign(plan, split)
    places, (image_bytes, group_bytes) = _places(memory)
    constants = _Constants()
    shapes = plan.shapes()
    writer = _Writer(tier, places, constants, by_winograd, threads)
    rows = [writer.row(layer, shapes[layer.input]) for layer in plan.layers]
    table = np.array(rows, np.int64)
    return Program(table, constants.bytes(), split, image_bytes, group_bytes, writer.room_bytes, places)


def best_split(plan: Plan) -> int:
    """The layer from which on images had best be made together: then weights are read once for all of them.

    Before it, they are made one by one, so that activations stay in a thread's cache. Bytes decide.
    """
    shapes = plan.shapes()

    def gain(layer: Layer) -> int:
        read = [layer.input, *([layer.residual] if isinstance(layer, Convolution) and layer.residual else [])]
        written = prod(shapes.get(layer.output, (0,)))
        weights = layer.weights.nbytes if isinstance(layer, Convolution | Dense) else 0
        return weights - written - sum(prod(shapes[name]) for name in read)

    gains = [0, *np.cumsum([gain(layer) for layer in reversed(plan.layers)])]
    return len(plan.layers) - int(np.argmax(gains))


def _places(memory: ActivationMemory) -> tuple[dict[str, Place], tuple[int, int]]:
    """Where activations lie, and the bytes of both parts of an arena, an image."""
    sizes = [0, 0]
    starts = []
    for size, late in zip(memory.sizes, memory.late, strict=True):
        starts.append(Place(sizes[late], late))
        sizes[late] += _aligned(size)
    return {name: starts[number] for name, number in memory.buffer.items()}, (sizes[0], sizes[1])


class _Constants:
    """Tensors one after another, each where vectors may start."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, values: npt.NDArray[Any]) -> int:
        """Where the tensor starts."""
        start, size = self._size, _aligned(values.nbytes)
        self._parts.append(np.ascontiguousarray(values).tobytes().ljust(size, b"\0"))
        self._size += size
        return start

    def bytes(self) -> npt.NDArray[np.uint8]:
        return np.frombuffer(b"".join([*self._parts, bytes(SLACK)]), np.uint8)


class _Writer:
    """Writes rows of the table, in the order of the fields of layer_t."""

    def __init__(
        self, tier: Tier, places: dict[str, Place], constants: _Constants, by_winograd: frozenset[str], threads: int
    ) -> None:
        self._by_winograd = by_winograd
        self._winograd_channels = _WINOGRAD_CHANNELS if threads <= _FEW_THREADS else _WINOGRAD_CHANNELS_OF_MANY
        self._places = places
        self._constants = constants
        self._lanes = tier.defines["LANES"]
        self._panel = self._lanes * tier.defines["VECTORS"]
        self._pixels = tier.defines["PIXELS"]
        self._pairs = tier.defines.get("PAIRS")
        self.room_bytes = SLACK

    def row(self, layer: Layer, shape: Shape) -> tuple[int, ...]:
        """The row of a layer whose input has this shape."""
        out_shape = (1, 1, len(layer.bias)) if isinstance(layer, Dense) else output_shape(layer, shape)
        residual = layer.residual if isinstance(layer, Convolution) else None
        source = self._source(layer, shape, out_shape) if isinstance(layer, Convolution | Dense) else ""
        return (
            _KINDS.index(layer.kind),
            *(_NOWHERE if layer.input == INPUT else self._places[layer.input]),
            *self._places.get(layer.output, _NOWHERE),
            *(_NOWHERE if residual is None else self._places[residual]),
            *shape,
            *out_shape,
            *self._window(layer),
            *self._tensors(layer, shape, out_shape, source),
            *self._tiling(layer, shape, out_shape, source),
        )

    def _window(self, layer: Layer) -> tuple[int, ...]:
        if isinstance(layer, Dense):
            return 1, 1, 1, 1, 0, 0
        if isinstance(layer, GlobalAveragePool):
            return 0, 0, 0, 0, 0, 0
        kernel = layer.weights.shape[1:3] if isinstance(layer, Convolution) else layer.kernel
        return *kernel, *layer.stride, *layer.padding[:2]

    def _tensors(self, layer: Layer, shape: Shape, out_shape: Shape, source: str) -> tuple[int, ...]:
        """Where weights, bias, multiplier, zero_point, pad_value, residual_multiplier and lists start; 0 for none."""
        add = self._constants.add
        if isinstance(layer, Convolution):
            weights = winograd.weights(layer.weights) if source == "winograd" else layer.weights
            panels = _in_vectors(self._panels(weights, _SHORTS if source == "widened rows" else _WORD))
            row_bytes = _copied_pixels(layer, out_shape) * shape[2] if source == "copied rows" else panels.shape[3]
            start, *lists = self._packed(panels, source, row_bytes)
            residual = 0
            if layer.residual_multiplier is not None:
                residual = add(_in_parts(self._ordered(layer.residual_multiplier)))
            return (
                start,
                add(self._ordered(layer.bias)),
                add(self._ordered(layer.multiplier)),
                add(self._filled(layer.zero_point.astype(np.int16))),
                add(np.pad(layer.pad_value, (0, SLACK))),
                residual,
                *lists,
            )
        if isinstance(layer, Dense):
            panels = self._panels(layer.weights[:, np.newaxis, np.newaxis], _WORD)
            start, *lists = self._packed(panels, source, panels.shape[3])
            return start, add(self._filled(layer.bias)), add(self._filled(layer.multiplier)), 0, 0, 0, *lists
        if isinstance(layer, GlobalAveragePool):
            return 0, 0, add(self._ordered(layer.multiplier)), 0, 0, 0, 0, 0
        return (0,) * 8

    def _tiling(self, layer: Layer, shape: Shape, out_shape: Shape, source: str) -> tuple[int, ...]:
        """row_words, source, tile_units, tile_panels."""
        if not isinstance(layer, Convolution | Dense):
            return 0, 0, 0, 0
        rows, columns = layer.weights.shape[1:3] if isinstance(layer, Convolution) else (1, 1)
        row_words = -(-columns * shape[2] // (_SHORTS if source == "widened rows" else _WORD))
        panels = -(-out_shape[2] // self._panel)
        channels = self._winograd_channels if source == "winograd" else _TILE_CHANNELS
        tile_panels = min(panels, max(1, channels // self._panel))
        dots = rows * row_words * tile_panels * self._panel // self._lanes  # a pixel
        unit_bytes = rows * row_words * _WORD
        step, wanted = self._pixels, prod(out_shape[:2])  # units that are made at once; those of an image
        slack = SLACK
        if isinstance(layer, Convolution) and source in _ROWS:
            unit_bytes = rows * _copied_pixels(layer, out_shape) * shape[2]
            if source == "widened rows":
                unit_bytes *= 3  # bytes and shorts
            dots *= out_shape[1]
            step, wanted = 1, out_shape[0]
        elif source == "winograd":
            row_words = shape[2] // _SHORTS
            unit_bytes = winograd.POSITIONS * (row_words + self._panel) * _WORD  # inputs and sums
            dots = winograd.POSITIONS * row_words * tile_panels * self._panel // self._lanes
            step = _WINOGRAD_UNITS
            wanted = -(-out_shape[0] // winograd.SIDE) * -(-out_shape[1] // winograd.SIDE)
            slack += winograd.POSITIONS * SLACK  # between positions
        best = min(_TILE_BYTES // unit_bytes, _TILE_DOTS // dots)
        least = -(-wanted * IMAGES_A_GROUP * -(-panels // tile_panels) // _MAX_TILES)
        units = max(step, best // step * step, -(-least // step) * step)
        if source != "in place":
            self.room_bytes = max(self.room_bytes, _aligned(units * unit_bytes + slack))
        return row_words, _SOURCES.index(source), units, tile_panels

    def _source(self, layer: Convolution | Dense, shape: Shape, out_shape: Shape) -> str:
        """How windows are read. Rows are copied where they are long enough for blocks of pixels, and overlap."""
        if _lie_as_windows(layer, shape):
            return "in place"
        if layer.output in self._by_winograd:
            return "winograd"
        if isinstance(layer, Dense) or out_shape[1] < 2 * self._pixels or layer.stride[1] >= layer.weights.shape[2]:
            return "copied windows"
        return "widened rows" if self._pairs and self._is_faster_in_shorts(layer, self._pairs) else "copied rows"

    def _is_faster_in_shorts(self, layer: Convolution, pairs: int) -> bool:
        """Whether so many words are listed that wider ones, which need no list, take less time."""
        listed = len(listed_words(self._panels(layer.weights, _WORD), 0, pairs).offsets)
        return _SHORTS_TIME * prod(self._panels(layer.weights, _SHORTS).shape) / self._panel / _SHORTS < listed

    def _packed(self, panels: npt.NDArray[Any], source: str, row_bytes: int) -> tuple[int, int, int]:
        """Where weights start, which are `_panels`, and the lists of panels' first words and of offsets; 0 for none."""
        add = self._constants.add
        if source in ("winograd", "widened rows"):
            return add(_words(panels, _SHORTS).astype(np.int16)), 0, 0
        if not self._pairs:
            return add(_words(panels, _WORD)), 0, 0
        listed = listed_words(panels, row_bytes, self._pairs)
        return add(listed.weights), add(listed.starts), add(listed.offsets)

    def _filled(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A value a channel, zeros behind them."""
        return np.pad(values, (0, -len(values) % self._panel))

    def _ordered(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The same, in the order in which vectors have a panel's channels."""
        return _in_vectors(self._filled(values).reshape(-1, self._panel))

    def _panels(self, weights: npt.NDArray[Any], word: int) -> npt.NDArray[Any]:
        """Weights [out, row, column, in] as [panels, PANEL, row, column and in], zeros up to words of `word` inputs."""
        out, rows, columns, channels = weights.shape
        by_row = weights.reshape(out, rows, columns * channels)
        filled = np.pad(by_row, ((0, -out % self._panel), (0, 0), (0, -(columns * channels) % word)))
        return filled.reshape(-1, self._panel, *filled.shape[1:])


def _lie_as_windows(layer: Convolution | Dense, shape: Shape) -> bool:
    """Whether inputs lie as they are multiplied: in whole words, one window behind the other."""
    if shape[2] % _WORD:
        return False
    if isinstance(layer, Dense):
        return True
    return bool(layer.weights.shape[1:3] == (1, 1) and layer.stride == (1, 1) and not any(layer.padding))


def _copied_pixels(layer: Convolution, out_shape: Shape) -> int:
    """Of a row of inputs that a row of outputs meets."""
    return (out_shape[1] - 1) * layer.stride[1] + int(layer.weights.shape[2])


def _words(panels: npt.NDArray[Any], group: int) -> npt.NDArray[Any]:
    """`_panels` as kernels read them, [panels, row, word, PANEL, group]."""
    return panels.reshape(*panels.shape[:3], -1, group).transpose(0, 2, 3, 1, 4)


def _in_vectors(panels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Channels [panels, PANEL, ...]: 0 to 3, 8 to 11 and so on to the first vector, the others to the second."""
    fours = panels.reshape(len(panels), -1, 2, 4, *panels.shape[2:])
    return np.swapaxes(fours, 1, 2).reshape(panels.shape)


def _in_parts(multiplier: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Each as two shorts, the lower 7 bits and those above."""
    return np.stack([multiplier & 127, multiplier >> 7], axis=-1).astype(np.int16)


def _aligned(size: int) -> int:
    return -(-size // SLACK) * SLACK
