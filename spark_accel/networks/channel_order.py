"""Orders the channels between a network's layers so that few neighbours have large weights of equal signs.

Which channel comes first makes no difference to the logits. It does to processors that multiply weights two by two and
add the products in 16 bits, which hold those of neighbours whose weights are at most `MOST` together
(`daemon/listed_words.py`).
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from spark_accel.networks import winograd
from spark_accel.networks.plan import INPUT, Convolution, Dense, GlobalAveragePool, Layer, Plan

Order = npt.NDArray[np.intp] | slice

MOST = 128  # times 255 is less than 2^15
PANEL = 16  # channels that the kernels of these processors have together
_AS_IT_IS = slice(None)
_TRIED = 32  # neighbours for a channel: with all of them there are hardly fewer misfits


def paired(plan: Plan) -> Plan:
    """A plan with the same logits, in which neighbours fit as far as that was found."""
    groups = _groups(plan)
    weights = defaultdict(list)  # but for the dense layer's, which are few, and Winograd's, which are no bytes
    for layer in plan.layers:
        if isinstance(layer, Convolution) and groups[layer.input] != INPUT and not winograd.suits(layer, PANEL):
            by_channel = np.moveaxis(layer.weights, 3, 0)
            weights[groups[layer.input]].append(by_channel.reshape(len(by_channel), -1))
    orders = {group: _order(np.concatenate(each, axis=1).astype(np.int16)) for group, each in weights.items()}
    of = {name: orders[group] for name, group in groups.items() if group in orders}
    return replace(plan, layers=tuple(_reordered(layer, of) for layer in plan.layers))


def _groups(plan: Plan) -> Mapping[str, str]:
    """Of each activation the first one whose channels have the same order. That of the image is given."""
    groups = {INPUT: INPUT}
    for layer in plan.layers:
        if not isinstance(layer, Convolution):
            groups[layer.output] = groups[layer.input]
        else:
            groups[layer.output] = layer.output if layer.residual is None else groups[layer.residual]
    return groups


def _order(weights: npt.NDArray[np.int16]) -> Order:
    """Pair by pair, of weights [channels, products]. Channels with large weights choose first.

    Pairs with most misfits come last: behind one, words start at odd channels and hold neighbours that nobody paired.
    """
    random = np.random.default_rng(0)
    size = (weights.astype(np.float32) ** 4).sum(axis=1)
    free = np.ones(len(weights), bool)
    pairs: list[tuple[float, list[int]]] = []  # with their misfits
    for channel in np.argsort(-size, kind="stable"):
        if not free[channel]:
            continue
        free[channel] = False
        others = np.flatnonzero(free)
        if not len(others):
            pairs.append((np.inf, [channel]))
            break
        if len(others) > _TRIED:
            others = random.choice(others, _TRIED, replace=False)
        misfits = (np.abs(weights[others] + weights[channel]) > MOST).sum(axis=1)
        best = others[misfits == misfits.min()]
        other = best[np.argmax(size[best])]  # small ones are left to those that need them
        free[other] = False
        pairs.append((misfits.min(), [channel, other]))
    return np.concatenate([channels for _, channels in sorted(pairs, key=itemgetter(0))])


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
