"""Chooses what uint8 stands for in each activation, from its values on the calibration images:

    real = (q - zero_point) * scale

After a ReLU: one scale for the tensor, zero is 0, and the range is the one with the least squared error. That was
measured against the maximum and percentiles on a real ResNet50: percentiles below 99.999 cut off rare, large values on
which the answer hangs. Without a ReLU (the convolutions of shortcuts): a scale and zero for each channel.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]

LEVELS = 255
SMALLEST = 1e-30  # of scales and ranges: far from what float32 can't hold
_SHARES = np.linspace(0.3, 1, 71)  # of the maximum: the ranges that are tried
_HEADROOM = 1.1  # images that are not in the calibration have larger extremes in single channels
_LEAST_RANGE = 0.02  # of the widest channel's: a channel that calibration did not move may move later


@dataclass(frozen=True, eq=False)
class Quantisation:
    """real = (q - zero_point) * scale, both [channels]."""

    scale: Float32
    zero_point: UInt8


def non_negative(values: Float32) -> Quantisation:
    """For values [n, height, width, channels] of which none is negative."""
    scale = np.float32(_least_error_range(values.ravel()) / LEVELS)
    channels = values.shape[3]
    return Quantisation(np.full(channels, scale, np.float32), np.zeros(channels, np.uint8))


def signed(values: Float32) -> Quantisation:
    """For values [n, height, width, channels] of both signs."""
    low = np.minimum(values.min(axis=(0, 1, 2)), 0)
    width = np.maximum(values.max(axis=(0, 1, 2)), 0) - low
    least = _LEAST_RANGE * float(width.max())
    width = np.maximum(width, least if least > SMALLEST else 1.0)
    scale = (width * (_HEADROOM / LEVELS)).astype(np.float32)
    middle = (_HEADROOM - 1) / 2 * width
    return Quantisation(scale, np.clip(np.rint((middle - low) / scale), 0, LEVELS).astype(np.uint8))


def _least_error_range(values: Float32) -> float:
    """The range [0, r] for which rounding to 255 steps and cutting off at r have the least squared error together.

    Exact, not from a sample: what is cut off is rare, often at the same few places of each image, and matters much.
    """
    largest = float(values.max(initial=0))
    if largest <= SMALLEST:
        return 1.0
    ranges = _SHARES * largest
    tail = values[values > ranges[0]].astype(np.float64)
    cut = np.array([np.square(tail[tail > one] - one).sum() for one in ranges])
    rounding = (ranges / LEVELS) ** 2 / 12 * np.count_nonzero(values)  # zeros are exact
    return float(ranges[np.argmin(cut + rounding)])
