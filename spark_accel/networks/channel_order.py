"""Orders the channels between a network's layers so that few neighbours have large weights of equal signs.

Which channel comes first makes no difference to the logits. It does to processors that multiply weights two by two and
add the products in 16 bits, which hold those of neighbours whose weights are at most `MOST` together
(`daemon/listed_words.py`).
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce

import numpy as np
import numpy.typing as npt

from spark_accel.networks import winograd
from spark_accel.networks.plan import INPUT, Convolution, Dense, GlobalAveragePool, Int8, Layer, Plan

Order = npt.NDArray[np.intp] | slice
_Counts = npt.NDArray[np.int64]

MOST = 128  # times 255 is less than 2^15
PANEL = 16  # channels that the kernels of these processors have together
_AS_IT_IS = slice(None)


def paired(plan: Plan) -> Plan:
    """A plan with the same logits, in which neighbours fit as far as that was found."""
    of = _Orders(plan).found
    return replace(plan, layers=tuple(_reordered(layer, of) for layer in plan.layers))


class _Orders:
    """`found` has the order of each activation's channels that is not as it was.

    Activations that are added up have one order: that of their `_group`, of which the first one's name is the name.
    """

    def __init__(self, plan: Plan) -> None:
        self._group = _groups(plan)
        # But for the dense layer, which is small, and those made by Winograd's algorithm, which multiply no bytes.
        self._readers: Mapping[str, list[Convolution]] = defaultdict(list)
        for layer in plan.layers:
            if isinstance(layer, Convolution) and not winograd.suits(layer, PANEL):
                self._readers[self._group[layer.input]].append(layer)
        self._orders: dict[str, Order] = {INPUT: _AS_IT_IS}
        for group in self._group.values():
            self._decide(group)
        self.found = {name: self._orders[group] for name, group in self._group.items()}

    def _decide(self, group: str) -> None:
        """Those of what is made of it come first: they say which channels its readers have in a panel."""
        if group in self._orders:
            return
        self._orders[group] = _AS_IT_IS  # for whoever asks in between, which only some networks' layers do
        readers = self._readers[group]
        for reader in readers:
            self._decide(self._group[reader.output])
        if readers:
            given = (_misfits(reader.weights[self._orders[self._group[reader.output]]]) for reader in readers)
            self._orders[group] = _order(reduce(np.add, given))


def _groups(plan: Plan) -> Mapping[str, str]:
    """Of each activation the first one whose channels have the same order. That of the image is given."""
    groups = {INPUT: INPUT}
    for layer in plan.layers:
        if not isinstance(layer, Convolution):
            groups[layer.output] = groups[layer.input]
        else:
            groups[layer.output] = layer.output if layer.residual is None else groups[layer.residual]
    return groups


def _misfits(weights: Int8) -> _Counts:
    """[in, in] of weights [out, row, column, in]: of the panels' rows, in how many two inputs can't be neighbours."""
    outputs, rows, columns, inputs = weights.shape
    panels = np.zeros((-(-outputs // PANEL) * PANEL, rows * columns, inputs), np.int16)
    panels[:outputs] = weights.reshape(outputs, -1, inputs)
    by_input = np.ascontiguousarray(panels.reshape(-1, PANEL, rows * columns, inputs).transpose(3, 1, 0, 2))
    found = np.zeros((inputs, inputs), np.int64)
    for one in range(inputs):
        beyond = np.abs(by_input[one:] + by_input[one]) > MOST
        found[one, one:] = beyond.any(axis=1).sum(axis=(1, 2))
    return np.maximum(found, found.T)


def _order(misfits: _Counts) -> Order:
    """Pair by pair, those that fit first. Behind one that does not, words start at the second channel of pairs: so each
    begins with what fits best beside the end of the one before."""
    pairs, alone = _pairs(misfits)
    pairs = pairs[np.argsort(misfits[pairs[:, 0], pairs[:, 1]], kind="stable")]
    order: list[int] = []
    while len(pairs):
        fitting = misfits[order[-1], pairs] if order else np.zeros(pairs.shape)
        pair, begin = divmod(int(fitting.argmin()), 2)
        order += [pairs[pair, begin], pairs[pair, 1 - begin]]
        pairs = np.delete(pairs, pair, axis=0)
    return np.array([*order, *alone])


def _pairs(misfits: _Counts) -> tuple[npt.NDArray[np.intp], list[int]]:
    """[pairs, 2] of the channels, and the one that is left where their number is odd. Those that fit beside the fewest
    choose first."""
    free = list(np.argsort(-misfits.sum(axis=1), kind="stable"))
    pairs = []
    while len(free) > 1:
        channel = free.pop(0)
        other = free.pop(int(misfits[channel, free].argmin()))  # the first: who fits beside more is left to others
        pairs.append((channel, other))
    return np.array(pairs, np.intp).reshape(-1, 2), free


def _reordered(layer: Layer, of: Mapping[str, Order]) -> Layer:
    """The layer for inputs and outputs in the order of their activation."""
    taken, given = of.get(layer.input, _AS_IT_IS), of.get(layer.output, _AS_IT_IS)
    if isinstance(layer, Dense):
        return replace(layer, weights=layer.weights[:, taken])
    if isinstance(layer, GlobalAveragePool):
        return replace(layer, multiplier=layer.multiplier[given])
    if isinstance(layer, Convolution):
        return replace(
            layer,
            weights=layer.weights[given][..., taken],
            bias=layer.bias[given],
            multiplier=layer.multiplier[given],
            zero_point=layer.zero_point[given],
            pad_value=layer.pad_value[taken],
            residual_multiplier=None if layer.residual_multiplier is None else layer.residual_multiplier[given],
        )
    return layer
