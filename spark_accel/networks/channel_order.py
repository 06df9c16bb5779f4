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
_Counts = npt.NDArray[np.int32]

MOST = 128  # times 255 is less than 2^15
PANEL = 16  # channels that the kernels of these processors have together
_MOST_CHANNELS = 4096  # of an activation that is put in order: what that takes grows with their square
_AS_IT_IS = slice(None)


def paired(plan: Plan) -> Plan:
    """A plan with the same logits, in which neighbours fit as far as that was found."""
    of = _orders(plan)
    return replace(plan, layers=tuple(_reordered(layer, of) for layer in plan.layers))


def _orders(plan: Plan) -> Mapping[str, Order]:
    """The order of each activation's channels. Those that are added up have one order: that of their group.

    It depends on which channels those who read it have in a panel, so that theirs come first: of what is added up, and
    else from the last to the first. Where that is not so, they count as they are.
    """
    group = _groups(plan)
    # But for the dense layer, which is small, and those made by Winograd's algorithm, which multiply no bytes.
    readers: dict[str, list[Convolution]] = defaultdict(list)
    sums = set()
    for layer in plan.layers:
        if isinstance(layer, Convolution):
            if layer.residual is not None:
                sums.add(group[layer.residual])
            small = layer.weights.shape[3] <= _MOST_CHANNELS
            if small and group[layer.input] != INPUT and not winograd.suits(layer, PANEL):
                readers[group[layer.input]].append(layer)
    orders: dict[str, Order] = defaultdict(lambda: _AS_IT_IS)
    last_first = list(reversed(readers))
    for one in sorted(last_first, key=lambda one: one not in sums):
        given = (_misfits(layer.weights[orders[group[layer.output]]]) for layer in readers[one])
        orders[one] = _order(reduce(np.add, given))
    return {name: orders[group[name]] for name in group}


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
    found = np.zeros((inputs, inputs), np.int32)
    for one in range(inputs):
        beyond = np.abs(by_input[one:] + by_input[one]) > MOST
        found[one, one:] = beyond.any(axis=1).sum(axis=(1, 2))
    return np.maximum(found, found.T)


def _order(misfits: _Counts) -> Order:
    """Pair by pair, each one beginning with what fits best beside the end of the one before, since words start there
    behind a pair that does not fit; of equally good ones first the pair that fits best itself."""
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
