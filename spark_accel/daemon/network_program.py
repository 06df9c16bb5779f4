"""Turns a layer plan into what a kernel reads that runs the whole network: a table of layers, and constants.

The tables are those of `kernels/network/x86_layers.h`; `opencl_launch.py` runs them. A tier's macros say how weights
lie: in panels of LANES * VECTORS output channels and, within a panel, in words of GROUP inputs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_accel.daemon.activation_memory import assign
from spark_accel.daemon.kernels import Tier
from spark_accel.networks.plan import INPUT, Convolution, Dense, GlobalAveragePool, Int8, Layer, Plan, output_shape

WEIGHTS = {  # their type by layout
    "int8 [out / PANEL][kernel row][column, in / GROUP][PANEL][GROUP]": np.int8,
    "int16 [out / PANEL][kernel row][column, in / GROUP][PANEL][GROUP]": np.int16,
}

SLACK = 64  # bytes behind whatever kernels read or write: they do so in whole vectors
_WORD = 4
_KINDS = ("convolution", "max_pool", "global_average_pool", "dense")
_TILE_BYTES = 96 * 2**10  # of a tile's inputs: they stay in the second-level cache
_TILE_PRODUCTS = 1_000_000  # of a tile: some 5 to 15 microseconds, so that threads end a layer together
_TILE_CHANNELS = 128  # of a tile: enough for the copying of its inputs to hardly count

Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Program:
    """`layers` is layer_t [n] as [n, fields], which fit in 32 bits if arena and constants do; `constants` are bytes.

    An arena of activations takes `arena_bytes` an image, copied inputs take `room_bytes` a thread. `offsets` are the
    activations' places in the arena, in bytes an image.
    """

    layers: npt.NDArray[np.int64]
    constants: npt.NDArray[np.uint8]
    arena_bytes: int
    room_bytes: int
    offsets: dict[str, int]


def program(plan: Plan, tier: Tier) -> Program:
    """The program of a valid plan for a tier whose layout of weights is in `WEIGHTS`."""
    memory = assign(plan)
    starts = np.cumsum([0, *(_aligned(size) for size in memory.sizes)])
    offsets = {name: int(starts[number]) for name, number in memory.buffer.items()}
    constants = _Constants()
    shapes = plan.shapes()
    writer = _Writer(tier, offsets, constants)
    rows = [writer.row(layer, shapes[layer.input]) for layer in plan.layers]
    return Program(np.array(rows, np.int64), constants.bytes(), int(starts[-1]), writer.room_bytes, offsets)


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

    def __init__(self, tier: Tier, offsets: dict[str, int], constants: _Constants) -> None:
        self._offsets = offsets
        self._constants = constants
        self._group = tier.defines["GROUP"]
        self._panel = tier.defines["LANES"] * tier.defines["VECTORS"]
        self._pixels = tier.defines["PIXELS"]
        self._weights = WEIGHTS[tier.layouts["weights"]]
        self.room_bytes = SLACK

    def row(self, layer: Layer, shape: Shape) -> tuple[int, ...]:
        """The row of a layer whose input has this shape."""
        out_shape = (1, 1, len(layer.bias)) if isinstance(layer, Dense) else output_shape(layer, shape)
        residual = layer.residual if isinstance(layer, Convolution) else None
        return (
            _KINDS.index(layer.kind),
            -1 if layer.input == INPUT else self._offsets[layer.input],
            self._offsets.get(layer.output, -1),
            -1 if residual is None else self._offsets[residual],
            *shape,
            *out_shape,
            *self._window(layer),
            *self._tensors(layer),
            *self._tiling(layer, shape, out_shape),
        )

    def _window(self, layer: Layer) -> tuple[int, ...]:
        if isinstance(layer, Dense):
            return 1, 1, 1, 1, 0, 0
        if isinstance(layer, GlobalAveragePool):
            return 0, 0, 0, 0, 0, 0
        kernel = layer.weights.shape[1:3] if isinstance(layer, Convolution) else layer.kernel
        return *kernel, *layer.stride, *layer.padding[:2]

    def _tensors(self, layer: Layer) -> tuple[int, ...]:
        """Where weights, bias, multiplier, zero_point, pad_value and residual_multiplier start; 0 for none."""
        add = self._constants.add
        if isinstance(layer, Convolution):
            residual = 0 if layer.residual_multiplier is None else add(self._ordered(layer.residual_multiplier))
            return (
                add(self._packed(_in_vectors(self._panels(layer.weights)))),
                add(self._ordered(layer.bias)),
                add(self._ordered(layer.multiplier)),
                add(self._ordered(layer.zero_point.astype(np.int32))),
                add(np.pad(layer.pad_value, (0, SLACK))),
                residual,
            )
        if isinstance(layer, Dense):
            weights = self._packed(self._panels(layer.weights[:, np.newaxis, np.newaxis]))
            return add(weights), add(self._filled(layer.bias)), add(self._filled(layer.multiplier)), 0, 0, 0
        if isinstance(layer, GlobalAveragePool):
            return 0, 0, add(self._ordered(layer.multiplier)), 0, 0, 0
        return 0, 0, 0, 0, 0, 0

    def _tiling(self, layer: Layer, shape: Shape, out_shape: Shape) -> tuple[int, ...]:
        """row_words, in_place, tile_pixels, tile_panels."""
        if not isinstance(layer, Convolution | Dense):
            return 0, 0, 0, 0
        rows, columns = layer.weights.shape[1:3] if isinstance(layer, Convolution) else (1, 1)
        row_words = -(-columns * shape[2] // self._group)
        window_bytes = rows * row_words * _WORD
        panels = -(-out_shape[2] // self._panel)
        tile_panels = min(panels, max(1, _TILE_CHANNELS // self._panel))
        products = rows * row_words * self._group * tile_panels * self._panel * self._pixels
        blocks = max(1, min(_TILE_BYTES // (window_bytes * self._pixels), _TILE_PRODUCTS // products))
        in_place = self._reads_in_place(layer, shape)
        if not in_place:
            self.room_bytes = max(self.room_bytes, blocks * self._pixels * window_bytes + SLACK)
        return row_words, int(in_place), blocks * self._pixels, tile_panels

    def _reads_in_place(self, layer: Convolution | Dense, shape: Shape) -> bool:
        """Whether inputs lie as they are multiplied: bytes, one window behind the other."""
        if self._weights is not np.int8 or shape[2] % self._group:
            return False
        if isinstance(layer, Dense):
            return True
        return layer.weights.shape[1:3] == (1, 1) and layer.stride == (1, 1) and not any(layer.padding)

    def _filled(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A value a channel, zeros behind them."""
        return np.pad(values, (0, -len(values) % self._panel))

    def _ordered(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The same, in the order in which vectors have a panel's channels."""
        return _in_vectors(self._filled(values).reshape(-1, self._panel))

    def _panels(self, weights: Int8) -> Int8:
        """Weights [out, row, column, in] as [panels, PANEL, row, column and in], zeros up to whole words."""
        out, rows, columns, channels = weights.shape
        by_row = weights.reshape(out, rows, columns * channels)
        filled = np.pad(by_row, ((0, -out % self._panel), (0, 0), (0, -(columns * channels) % self._group)))
        return filled.reshape(-1, self._panel, *filled.shape[1:])

    def _packed(self, panels: Int8) -> npt.NDArray[Any]:
        """The same as the kernels read them, [panels, row, word, PANEL, GROUP]."""
        words = panels.reshape(*panels.shape[:3], -1, self._group)
        return words.transpose(0, 2, 3, 1, 4).astype(self._weights)


def _in_vectors(panels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Channels [panels, PANEL, ...]: 0 to 3, 8 to 11 and so on to the first vector, the others to the second."""
    fours = panels.reshape(len(panels), -1, 2, 4, *panels.shape[2:])
    return np.swapaxes(fours, 1, 2).reshape(panels.shape)


def _aligned(size: int) -> int:
    return -(-size // SLACK) * SLACK
