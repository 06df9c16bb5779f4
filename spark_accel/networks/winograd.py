"""Weights of 3x3 convolutions for Winograd's F(4x4, 3x3), in integers.

What is done with them, and why it is exact, is in `kernels/network/x86_winograd.h`.
"""

import numpy as np
import numpy.typing as npt

from spark_accel.networks.plan import Convolution, Int8

SIDE = 4  # of the outputs that are made together
POSITIONS = (SIDE + 2) ** 2  # of the inputs that these are made of
# The weights' matrix, its rows multiplied by 4, 6, 6, 24, 24 and 1.
_G = np.array([[1, 0, 0], [-1, -1, -1], [-1, 1, -1], [1, 2, 4], [1, -2, 4], [0, 0, 1]], np.int16)
_LARGEST_INPUT = 255


def suits(layer: Convolution, together: int) -> bool:
    """Whether a convolution can be made so, `together` of whose input channels kernels transform at once.

    In 32 bits: on the way up to 64 times the outputs must fit.
    """
    rows, columns, channels = layer.weights.shape[1:]
    if (rows, columns) != (3, 3) or layer.stride != (1, 1) or channels % together:
        return False
    positive = np.maximum(layer.weights, 0).sum(axis=(1, 2, 3), dtype=np.int64)
    negative = -np.minimum(layer.weights, 0).sum(axis=(1, 2, 3), dtype=np.int64)
    largest = max(positive.max(), negative.max()) * _LARGEST_INPUT
    return bool(64 * largest < 2**31)


def weights(of: Int8) -> npt.NDArray[np.int16]:
    """[out, 3, 3, in] as [out, POSITIONS, 1, in], all rows multiplied so that they are integers: 49 * 128 at most."""
    transformed: npt.NDArray[np.int16] = np.einsum("yr,orsi,xs->oyxi", _G, of.astype(np.int16), _G)
    return transformed.reshape(len(of), POSITIONS, 1, -1)
