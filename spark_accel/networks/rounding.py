"""Rounds weights to int8 so that the layer's outputs, not the weights, change least: GPTQ (Frantar et al. 2022,
arXiv:2210.17323).

Weights are rounded one input at a time. The error of each is made up for by those that are not rounded yet, in
proportion to how inputs go together on the calibration images (their second moment).
"""

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

LARGEST = 127
_DAMPING = 0.01  # of the mean squared input: keeps the inverse tame where inputs hardly vary
_BLOCK = 64


class SecondMoment:
    """The mean of x xᵀ over a random part of the windows that a convolution looks at, float32 [terms, terms]."""

    def __init__(self, windows: int, most: int) -> None:
        """`windows` is how many there will be in all, `most` about how many are taken."""
        self._share = min(1.0, most / windows)
        self._random = np.random.default_rng(0)
        self._sum: Float32 | None = None
        self._count = 0

    def add(self, windows: Float32) -> None:
        """Takes windows [n, terms]."""
        if self._share < 1:
            windows = windows[self._random.random(len(windows)) < self._share]
        product = windows.T @ windows
        self._sum = product if self._sum is None else self._sum + product
        self._count += len(windows)

    def mean(self) -> Float32 | None:
        """The mean so far; None if nothing was added."""
        return None if self._sum is None or not self._count else self._sum / np.float32(self._count)


def nearest(weights: Float32) -> Float32:
    """`weights` [out, terms], in units of their scale, each rounded for itself."""
    return np.clip(np.rint(weights), -LARGEST, LARGEST)


def compensated(weights: Float32, moment: Float32) -> Float32:
    """`weights` [out, terms], in units of their scale, rounded for inputs with this second moment [terms, terms]."""
    terms = weights.shape[1]
    power = np.diag(moment)
    if not np.isfinite(moment).all() or power.max(initial=0) <= 0:
        return nearest(weights)
    order = np.argsort(
        -power, kind="stable"
    )  # strong inputs first, while there is most to make up for their error with
    upper = _upper_factor(moment[order][:, order], float(power.mean()))
    left = np.ascontiguousarray(weights.T[order], np.float32)  # [terms, out]: what is still to be rounded
    rounded = np.empty_like(left)
    for start in range(0, terms, _BLOCK):
        stop = min(start + _BLOCK, terms)
        errors = np.empty((stop - start, len(weights)), np.float32)
        for i in range(start, stop):
            rounded[i] = nearest(left[i])
            errors[i - start] = (left[i] - rounded[i]) / upper[i, i]
            left[i + 1 : stop] -= upper[i, i + 1 : stop, None] * errors[i - start]
        left[stop:] -= upper[start:stop, stop:].T @ errors
    result = np.empty_like(rounded)
    result[order] = rounded
    return np.ascontiguousarray(result.T)


def _upper_factor(moment: Float32, power: float) -> Float32:
    """The upper triangle U with inverse(damped moment) = Uᵀ U: the reversed matrix' Cholesky factor, inverted."""
    for damping in (_DAMPING, 10 * _DAMPING, 100 * _DAMPING):
        damped = moment[::-1, ::-1].copy()
        damped[np.diag_indices(len(damped))] += np.float32(damping * power)
        try:
            return np.ascontiguousarray(_inverse_cholesky(damped)[::-1, ::-1])
        except np.linalg.LinAlgError:  # not positive definite in float32
            continue
    return np.eye(len(moment), dtype=np.float32)


def _inverse_cholesky(matrix: Float32) -> Float32:
    """The inverse of the Cholesky factor, by halves: most of the work is products of matrices, which BLAS does best."""
    size = len(matrix)
    if size <= 2 * _BLOCK:
        return np.tril(np.linalg.inv(np.linalg.cholesky(matrix)))
    half = size // 2
    first = _inverse_cholesky(matrix[:half, :half])
    below = matrix[half:, :half] @ first.T
    last = _inverse_cholesky(matrix[half:, half:] - below @ below.T)
    inverse = np.zeros_like(matrix)
    inverse[:half, :half], inverse[half:, half:] = first, last
    inverse[half:, :half] = -(last @ (below @ first))
    return inverse
