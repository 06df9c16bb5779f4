"""Weights for an instruction that multiplies bytes and adds the products two by two in 16 bits, which saturate.

It is exact where two weights are at most `most` together. So no two with more are in one of the two pairs of a word:
words may start at any input of a kernel row, and have zeros for inputs that other words have. What follows a pair that
does not fit moves by one input, which costs a quarter of a word. `networks/channel_order.py` leaves few such pairs.
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
    """The words of a kernel row, all [words]: each one's panel, the input it starts at, and the inputs it is for."""

    panel: Integers
    start: Integers
    first: Integers
    end: Integers


def listed_words(panels: Int8, row_bytes: int, most: int) -> ListedWords:
    """The words of weights [panels, PANEL, kernel row, terms]; a window has its rows `row_bytes` from each other."""
    cuts, offsets, weights = [], [], []
    for y in range(panels.shape[2]):
        row = panels[:, :, y]
        cut = _cut(_misfits(row, most))
        cuts.append(cut.panel)
        offsets.append(y * row_bytes + cut.start)
        weights.append(_weights(row, cut))
    number = np.concatenate(cuts)
    order = np.argsort(number, kind="stable")
    starts = np.searchsorted(number[order], np.arange(len(panels) + 1))
    return ListedWords(
        starts.astype(np.int32), np.concatenate(offsets)[order].astype(np.int32), np.concatenate(weights)[order]
    )


def _misfits(row: Int8, most: int) -> npt.NDArray[np.bool_]:
    """[panels, terms]: whether a term and the next one can't be a pair in one of the panel's channels."""
    weights = np.pad(row.astype(np.int16), ((0, 0), (0, 0), (0, 1)))
    misfits: npt.NDArray[np.bool_] = (np.abs(weights[:, :, :-1] + weights[:, :, 1:]) > most).any(axis=1)
    return misfits


def _cut(misfits: npt.NDArray[np.bool_]) -> _Cut:
    """Cuts the row of each panel into words, as long as pairs fit: all panels at once, word by word."""
    terms = misfits.shape[1]
    misfits = np.pad(misfits, ((0, 0), (0, _WORD)))
    parts = []
    panel = np.arange(len(misfits))
    first = np.zeros(len(misfits), np.int64)
    while len(panel):
        alone = misfits[panel, first]  # so that it is the second of the first pair
        start = np.maximum(first - alone, 0)
        end = start + 2 + np.where(misfits[panel, start + 2], 1, 2)
        end = np.where(alone & (first == 0), 1, end)
        parts.append((panel, start, first, np.minimum(end, terms)))
        left = end < terms
        panel, first = panel[left], end[left]
    return _Cut(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _weights(row: Int8, cut: _Cut) -> Int8:
    """[words, PANEL, 4] of a row [panels, PANEL, terms]."""
    at = cut.start[:, np.newaxis] + np.arange(_WORD)
    taken = (at >= cut.first[:, np.newaxis]) & (at < cut.end[:, np.newaxis])
    weights = np.pad(row, ((0, 0), (0, 0), (0, _WORD)))[cut.panel[:, np.newaxis], :, at]  # [words, 4, PANEL]
    return np.ascontiguousarray(np.where(taken[..., np.newaxis], weights, 0).transpose(0, 2, 1))
