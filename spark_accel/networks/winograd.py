"""Weights of 3x3 convolutions for Winograd's F(2x2, 3x3), in integers.

What is done with them, and why it is exact, is in `kernels/network/x86_winograd.h`.
"""

import numpy as np
import numpy.typing as npt

from spark_accel.networks.plan import Convolution, Int8

POSITIONS = 16  # of the 4 x 4 inputs that 2 x 2 outputs are made of
_TWICE_G = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]], np.int16)
_CHANNELS = 16  # that kernels transform at once
_LARGEST_INPUT = 255


def suits(layer: Convolution) -> bool:
    """Whether a convolution can be made so, in 32 bits: sums on the way are 4 times as large as without."""
    rows, columns, channels = layer.weights.shape[1:]
    if (rows, columns) != (3, 3) or layer.stride != (1, 1) or channels % _CHANNELS:
        return False
    largest = np.abs(layer.weights.astype(np.int64)).sum(axis=(1, 2, 3)).max() * _LARGEST_INPUT
    return bool(4 * largest < 2**31)


def weights(of: Int8) -> npt.NDArray[np.int16]:
    """[out, 3, 3, in] as [out, POSITIONS, 1, in], 4 times what Winograd's are: 9 * 128 at most."""
    transformed: npt.NDArray[np.int16] = np.einsum("yr,orsi,xs->oyxi", _TWICE_G, of.astype(np.int16), _TWICE_G)
    return transformed.reshape(len(of), POSITIONS, 1, -1)
