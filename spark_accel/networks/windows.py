"""Unfolds the windows of a convolution into matrices of bounded size, for the numpy reference and the float network."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Values = npt.NDArray[np.uint8] | Float32

BLOCK_BYTES = 2**25  # of unfolded windows at a time: bounds the memory whatever the batch


@dataclass(frozen=True)
class Window:
    """Where a convolution looks: sides of its kernel, its stride, and its padding (top, left, bottom, right)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]

    def outputs(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the output for an input of this size."""
        top, left, bottom, right = self.padding
        rows = (height + top + bottom - self.kernel[0]) // self.stride[0] + 1
        return rows, (width + left + right - self.kernel[1]) // self.stride[1] + 1


def unfold(x: Values, window: Window, pad_value: Values, out: int) -> Iterator[tuple[slice, slice, Float32]]:
    """Blocks of (images, output rows) with their windows, float32 [pixels, kernel height * width * channels].

    x is [n, height, width, channels], `pad_value` [channels] stands around it. `out`, the number of values that the
    caller makes of each window, counts for the size of a block.
    """
    rows, columns = window.outputs(x.shape[1], x.shape[2])
    row_bytes = columns * max(window.kernel[0] * window.kernel[1] * x.shape[3], out) * 4
    images = max(1, BLOCK_BYTES // (row_bytes * rows))
    band = min(rows, max(1, BLOCK_BYTES // row_bytes))
    for first in range(0, x.shape[0], images):
        block = slice(first, min(first + images, x.shape[0]))
        padded = pad(x[block], window.padding, pad_value)
        for start in range(0, rows, band):
            part = slice(start, min(start + band, rows))
            yield block, part, _unfold_rows(padded, window, part, columns)


def pad(x: Values, padding: tuple[int, int, int, int], value: Values) -> Values:
    """x [n, height, width, channels] with a border that has `value` [channels] in each of its positions."""
    if not any(padding):
        return x
    top, left, bottom, right = padding
    count, height, width, channels = x.shape
    padded = np.empty((count, height + top + bottom, width + left + right, channels), x.dtype)
    padded[...] = value
    padded[:, top : top + height, left : left + width] = x
    return padded


def strided(padded: Values, row: int, column: int, stride: tuple[int, int], size: tuple[int, int]) -> Values:
    """What `size` windows hold at one kernel position; the first window holds (row, column) of `padded` there."""
    return padded[
        :,
        row : row + (size[0] - 1) * stride[0] + 1 : stride[0],
        column : column + (size[1] - 1) * stride[1] + 1 : stride[1],
    ]


def _unfold_rows(padded: Values, window: Window, part: slice, columns: int) -> Float32:
    size = (part.stop - part.start, columns)
    pixels = padded.shape[0] * size[0] * columns
    if window.kernel == (1, 1):
        values = strided(padded, part.start * window.stride[0], 0, window.stride, size)
        return values.reshape(pixels, -1).astype(np.float32, copy=False)
    unfolded = np.empty((padded.shape[0], *size, *window.kernel, padded.shape[3]), np.float32)
    for i in range(window.kernel[0]):
        for j in range(window.kernel[1]):
            unfolded[:, :, :, i, j] = strided(padded, part.start * window.stride[0] + i, j, window.stride, size)
    return unfolded.reshape(pixels, -1)
