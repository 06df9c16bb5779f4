"""How the estimators' sums become 64-bit integers: what may be added up of a partition, and by what it is multiplied.

A sum in fixed point is that of round(term x scale), scale a power of two such that the sum of all absolute terms is
from 2^60 to 2^61; rounding adds at most a half a row, so that no sum of 2^31 rows overflows. A sum is wrong by at most
2^-61 of that total for each of its rows: of 2^20 rows that fall to their clusters alike, by 2^-41 of the sum of its
absolute terms. Terms that are so much smaller than their column's total that this would show make `exact` false.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ldexp

import numpy as np
import numpy.typing as npt

from spark_accel.estimators.rows import Rows, read, stride
from spark_accel.estimators.sums import Float64

_BITS = 61  # of the sum of all absolute terms
_SMALL = 2.0**-41  # of a column's total: a term of less is rounded by more than 2^-20 of it
_FEW = 2.0**-10  # of a column's terms may be so small
_LEAST = 2.0**-100  # of columns and weights: boards have no subnormal numbers
_LARGEST = 2.0**700  # of totals, and its reciprocal the least: all scales, and what they multiply, are numbers
_MOST_EXPONENT = 900  # 2.0 to it is a number, and a total that would want more is as good as 0
_BLOCK_ELEMENTS = 2**17  # so that what is made of them stays in a core's cache


@dataclass(frozen=True, eq=False)
class Ranges:
    """Of a dense float32 partition, each [stride]: the largest absolute value of a column, `totals` of weight x
    |value|, `square_totals` of weight x value squared; `weight` is the total of the weights.

    `exact` and `squares_exact` say whether sums in fixed point keep the relative precision of float32 products.
    """

    rows: int
    weight: float
    largest: Float64
    totals: Float64
    square_totals: Float64
    exact: bool
    squares_exact: bool


def ranges(rows: Rows) -> Ranges | None:
    """None where `rows` are no dense float32 ones, or have what has no fixed point: infinities, NaN, subnormal columns,
    weights below 0."""
    if rows.sparse or rows.values.dtype != np.float32:
        return None
    width = stride(rows.features)
    weight, largest, totals, square_totals = 0.0, np.zeros(width), np.zeros(width), np.zeros(width)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for x, weights in _blocks(rows):
            if not (weights >= 0.0).all():
                return None
            weight += float(weights.sum())
            np.maximum(largest, x.max(axis=0), out=largest)
            totals += weights @ x
            square_totals += weights @ (x * x)
        if not np.max([weight, totals.max(), square_totals.max()]) < _LARGEST:  # nor NaN
            return None
        if _some_below(_LEAST, largest, np.array([weight])) or _some_below(1.0 / _LARGEST, totals, square_totals):
            return None
        few = _FewSmall(np.array([weight])), _FewSmall(totals), _FewSmall(square_totals)
        for x, weights in _blocks(rows):
            weighted = x if rows.weights is None else weights[:, np.newaxis] * x
            for one, terms in zip(few, (weights[:, np.newaxis], weighted, weighted * x), strict=True):
                one.count(terms)
    weights_exact, exact, squares_exact = (one.hold for one in few)
    return Ranges(
        rows.rows, weight, largest, totals, square_totals, weights_exact and exact, weights_exact and squares_exact
    )


def _some_below(least: float, *values: Float64) -> bool:
    """Whether some are, and are not 0."""
    return any(bool(((one > 0.0) & (one < least)).any()) for one in values)


def scale(total: Float64) -> Float64:
    """By which terms of these absolute totals are multiplied: powers of two."""
    _, exponents = np.frexp(total)
    return np.asarray(np.ldexp(1.0, np.where(total > 0.0, _BITS - exponents, 0)))


def wide_exponent(total: float) -> int:
    """The exponent of the scale for a sum of 128 bits, of at most `total`, that is no less than 0."""
    return min(125 - int(np.frexp(total)[1]), _MOST_EXPONENT) if total > 0.0 else 0


def scale_of_one(total: float) -> float:
    """The same for one sum."""
    return float(scale(np.array([total]))[0])


def added_up(parts: Sequence[npt.NDArray[np.int64]], copies: int, sets: int) -> Float64:
    """The sums [sets, ...] of what chunks left, each int64 [copies, sets, ...], still multiplied."""
    total = np.sum(np.stack(parts).reshape(len(parts) * copies, sets, -1), axis=0)
    return np.asarray(total, np.float64)


def wide_total(parts: Sequence[npt.NDArray[np.uint64]], exponent: int) -> float:
    """The sum of some integers of 128 bits, each {low, high}, divided by 2^exponent."""
    total = sum(int(low) + (int(high) << 64) for low, high in parts)
    return ldexp(float(total), -exponent)


class _FewSmall:
    """Counts terms by column that are small beside the column's total."""

    def __init__(self, totals: Float64) -> None:
        self._least = _SMALL * totals
        self._small = np.zeros(len(totals), np.int64)
        self._zero = np.zeros(len(totals), np.int64)
        self._rows = 0

    def count(self, terms: Float64) -> None:
        self._rows += len(terms)
        small = terms < self._least
        if small.any():
            zero = terms == 0.0
            self._zero += np.count_nonzero(zero, axis=0)
            self._small += np.count_nonzero(small & ~zero, axis=0)

    @property
    def hold(self) -> bool:
        """Whether they are few in all columns."""
        return bool((self._small <= _FEW * (self._rows - self._zero)).all())


def _blocks(rows: Rows) -> Iterator[tuple[Float64, Float64]]:
    """The absolute values [n, stride] and the weights [n] of some rows at a time."""
    width = stride(rows.features)
    step = max(1, _BLOCK_ELEMENTS // width)
    for start in range(0, rows.rows, step):
        stop = min(rows.rows, start + step)
        x = read(rows.values, start * width, stop * width).reshape(-1, width)
        weights = np.ones(stop - start) if rows.weights is None else read(rows.weights, start, stop)
        yield np.abs(x).astype(np.float64), weights
