"""Weights for an instruction that multiplies bytes and adds the products two by two in 16 bits, which saturate.

It is exact where two weights are at most `most` together. So no two with more are in one of the two pairs of a word:
words may start at any input of a kernel row, and have zeros for inputs that other words have. What follows a pair that
does not fit moves by one input, which costs a quarter of a word, three at the start of a row.
`networks/channel_order.py` leaves few such pairs.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spark_accel.networks.plan import Int8

Integers = npt.NDArray[np.int64]
_WORD = 4  # inputs: two pairs


class ListedWords(NamedTuple):
    """`weights` [words, PANEL, 4] are for the 4 inputs from `offsets` [words] on, bytes of a window.

    `starts` [panels + 1] says where each panel's words are.
    """

    starts: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int32]
    weights: Int8


class _Cut(NamedTuple):
    """Words, all [words]: each one's row of a panel, the input it starts at, and the inputs it is for."""

    row: Integers
    start: Integers
    first: Integers
    end: Integers


def listed_words(panels: Int8, row_bytes: int, most: int) -> ListedWords:
    """The words of weights [panels, PANEL, kernel row, terms]; a window has its rows `row_bytes` from each other."""
    count, size, rows, terms = panels.shape
    by_row = panels.transpose(0, 2, 1, 3).reshape(count * rows, size, terms)
    cut = _cut(_misfits(by_row, most))
    starts = np.searchsorted(cut.row, rows * np.arange(count + 1))
    offsets = cut.row % rows * row_bytes + cut.start
    return ListedWords(starts.astype(np.int32), offsets.astype(np.int32), _weights(by_row, cut))


def _misfits(rows: Int8, most: int) -> npt.NDArray[np.bool_]:
    """[rows, terms]: whether a term and the next can't be a pair in one of the channels, of [rows, PANEL, terms]."""
    weights = np.pad(rows.astype(np.int16), ((0, 0), (0, 0), (0, 1)))
    misfits: npt.NDArray[np.bool_] = (np.abs(weights[:, :, :-1] + weights[:, :, 1:]) > most).any(axis=1)
    return misfits


def _cut(misfits: npt.NDArray[np.bool_]) -> _Cut:
    """Cuts rows into words, as long as pairs fit: all rows at once, word by word. The words are in rows' order."""
    terms = misfits.shape[1]
    misfits = np.pad(misfits, ((0, 0), (0, _WORD)))
    parts = []
    row = np.arange(len(misfits))
    first = np.zeros(len(misfits), np.int64)
    while len(row):
        alone = misfits[row, first]  # so that it is the second of the first pair
        start = np.maximum(first - alone, 0)
        end = start + 2 + np.where(misfits[row, start + 2], 1, 2)
        end = np.where(alone & (first == 0), 1, end)
        parts.append((row, start, first, np.minimum(end, terms)))
        left = end < terms
        row, first = row[left], end[left]
    words = _Cut(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    order = np.argsort(words.row, kind="stable")
    return _Cut(*(part[order] for part in words))


def _weights(rows: Int8, cut: _Cut) -> Int8:
    """[words, PANEL, 4] of rows [rows, PANEL, terms]."""
    at = cut.start[:, np.newaxis] + np.arange(_WORD)
    taken = (at >= cut.first[:, np.newaxis]) & (at < cut.end[:, np.newaxis])
    weights = np.pad(rows, ((0, 0), (0, 0), (0, _WORD)))[cut.row[:, np.newaxis], :, at]  # [words, 4, PANEL]
    return np.ascontiguousarray(np.where(taken[..., np.newaxis], weights, 0).transpose(0, 2, 1))
