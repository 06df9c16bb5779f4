"""The numpy reference of the estimators' kernels: their definition, in float64 whatever the data's own type."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from spark_accel.estimators.rows import ArrayColumn, Column, Rows, check_range, check_row_pointers, read, stride
from spark_accel.estimators.sums import ClassSums, Float64, LloydSums, LogisticSums, NearestCentres

# What is computed at once, so that memory stays small: at most so many rows, and so many elements of a dense matrix.
_BLOCK_ROWS, _BLOCK_ELEMENTS = 4096, 2**22


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows as a dense matrix `x` [n, features] with `labels` int32 [n] (None without) and `weights` [n]."""

    x: Float64
    labels: npt.NDArray[np.int32] | None
    weights: Float64


class ReferenceEngine:
    """See Engine. Its data are the columns; each call makes blocks of them, and computes at once."""

    def load(self, rows: Rows, resident: bool) -> "ReferenceData":
        """See Engine."""
        rows.check_sizes()
        return ReferenceData(_copy(rows) if resident else rows, resident)

    def wanted_bytes(self, rows: Rows) -> int:
        """See Engine."""
        return rows.nbytes

    def resident_bytes(self, data: "ReferenceData") -> int:
        """See Engine."""
        return data.rows.nbytes if data.resident else 0

    def lloyd(self, data: "ReferenceData", centres: Float64) -> Callable[[], LloydSums]:
        """See Engine."""
        sums, weight_sums, cost = np.zeros_like(centres), np.zeros(len(centres)), 0.0
        for block in map(_counted, data):
            nearest, squared = _nearest(block.x, centres)
            np.add.at(sums, nearest, block.x * block.weights[:, None])
            np.add.at(weight_sums, nearest, block.weights)
            cost += float(block.weights @ squared)
        return lambda: LloydSums(sums, weight_sums, cost)

    def costs(self, data: "ReferenceData", centres: Float64) -> Callable[[], NearestCentres]:
        """See Engine."""
        nearest, squared = zip(*(_nearest(block.x, centres) for block in data), strict=True)
        found = NearestCentres(np.concatenate(nearest).astype(np.int32), np.concatenate(squared))
        return lambda: found

    def binomial(self, data: "ReferenceData", coefficients: Float64, intercept: float) -> Callable[[], LogisticSums]:
        """See Engine. The loss of a row is log(1 + exp(margin)) - label x margin."""
        loss, gradient, multiplier_sum = 0.0, np.zeros_like(coefficients), 0.0
        for block, label in _labelled(data, 2):
            margin = block.x @ coefficients + intercept
            loss += float(block.weights @ (np.logaddexp(0.0, margin) - label * margin))
            multiplier = block.weights * (_sigmoid(margin) - label)
            gradient += multiplier @ block.x
            multiplier_sum += float(multiplier.sum())
        return lambda: LogisticSums(loss, gradient[None], np.array([multiplier_sum]))

    def multinomial(
        self, data: "ReferenceData", coefficients: Float64, intercepts: Float64
    ) -> Callable[[], LogisticSums]:
        """See Engine. The loss of a row is log(sum(exp(margins))) - margin of its label."""
        loss, gradient, multiplier_sums = 0.0, np.zeros_like(coefficients), np.zeros(len(intercepts))
        for block, label in _labelled(data, len(intercepts)):
            margins = block.x @ coefficients.T + intercepts
            margins -= margins.max(axis=1, keepdims=True)
            exponentials = np.exp(margins)
            total = exponentials.sum(axis=1)
            at = np.arange(len(label)), label
            loss += float(block.weights @ (np.log(total) - margins[at]))
            multipliers = exponentials / total[:, None]
            multipliers[at] -= 1.0
            multipliers *= block.weights[:, None]
            gradient += multipliers.T @ block.x
            multiplier_sums += multipliers.sum(axis=0)
        return lambda: LogisticSums(loss, gradient, multiplier_sums)

    def class_sums(self, data: "ReferenceData", classes: int, squares: bool) -> Callable[[], ClassSums]:
        """See Engine."""
        weight_sums = np.zeros(classes)
        sums = np.zeros((classes, data.rows.features))
        square_sums = np.zeros_like(sums) if squares else None
        for block, label in _labelled(data, classes):
            weighted = block.x * block.weights[:, None]
            np.add.at(weight_sums, label, block.weights)
            np.add.at(sums, label, weighted)
            if square_sums is not None:
                np.add.at(square_sums, label, weighted * block.x)
        return lambda: ClassSums(weight_sums, sums, square_sums)

    def waiting(self) -> None:
        """See Engine."""


class ReferenceData:
    """A partition as an iterable of blocks, made of columns in memory (`resident`) or where they lie."""

    def __init__(self, rows: Rows, resident: bool) -> None:
        self.rows = rows
        self.resident = resident

    def __iter__(self) -> Iterator[Block]:
        """The blocks, in the order of the rows."""
        pointers = None
        if self.rows.row_pointers is not None:
            pointers = read(self.rows.row_pointers)
            check_row_pointers(pointers, len(self.rows.values))
        step = max(1, min(_BLOCK_ROWS, _BLOCK_ELEMENTS // self.rows.features))
        for start in range(0, self.rows.rows, step):
            yield _block(self.rows, pointers, start, min(self.rows.rows, start + step))


def _copy(rows: Rows) -> Rows:
    def copied(column: Column | None) -> Column | None:
        return None if column is None else ArrayColumn(read(column))

    return replace(
        rows,
        values=ArrayColumn(read(rows.values)),
        indices=copied(rows.indices),
        row_pointers=copied(rows.row_pointers),
        labels=copied(rows.labels),
        weights=copied(rows.weights),
    )


def _block(rows: Rows, pointers: npt.NDArray[np.int64] | None, start: int, stop: int) -> Block:
    labels = None if rows.labels is None else read(rows.labels, start, stop)
    weights = np.ones(stop - start) if rows.weights is None else read(rows.weights, start, stop)
    if pointers is None or rows.indices is None:
        width = stride(rows.features)
        x = read(rows.values, start * width, stop * width).reshape(-1, width)[:, : rows.features]
        return Block(x.astype(np.float64), labels, weights)
    first, last = int(pointers[start]), int(pointers[stop])
    indices = read(rows.indices, first, last)
    check_range("indices", indices, rows.features)
    x = np.zeros((stop - start, rows.features))
    row = np.repeat(np.arange(stop - start), np.diff(pointers[start : stop + 1]))
    np.add.at(x, (row, indices), read(rows.values, first, last).astype(np.float64))
    return Block(x, labels, weights)


def _nearest(x: Float64, centres: Float64) -> tuple[npt.NDArray[np.intp], Float64]:
    """Index of the nearest centre and squared distance to it, by row."""
    squared = np.stack([((x - centre) ** 2).sum(axis=1) for centre in centres], axis=1)
    nearest = squared.argmin(axis=1)
    return nearest, squared[np.arange(len(x)), nearest]


def _counted(block: Block) -> Block:
    """Without the rows of weight 0, which may hold anything."""
    keep = block.weights != 0
    labels = None if block.labels is None else block.labels[keep]
    return block if keep.all() else Block(block.x[keep], labels, block.weights[keep])


def _labelled(data: ReferenceData, classes: int) -> Iterator[tuple[Block, npt.NDArray[np.int32]]]:
    """The rows that count, with their labels; checks all."""
    for block in data:
        if block.labels is None:
            raise ValueError("this kernel needs labels")
        check_range("labels", block.labels, classes)
        counted = _counted(block)
        assert counted.labels is not None  # noqa: S101 - for the type checker
        yield counted, counted.labels


def _sigmoid(margin: Float64) -> Float64:
    return np.exp(-np.logaddexp(0.0, -margin))
