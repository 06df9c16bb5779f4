"""The order of channels: the same network, with fewer neighbours that have large weights of equal signs."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import random_images, random_plan

from spark_accel.daemon.listed_words import listed_words
from spark_accel.networks import channel_order, reference
from spark_accel.networks.channel_order import MOST, PANEL
from spark_accel.networks.plan import Convolution, Plan, validate


def _extra_words(plan: Plan) -> int:
    """Words above those that pairs would fill which all fit, in the layers that bytes are multiplied for."""
    count = 0
    for layer in plan.layers[1:]:
        if isinstance(layer, Convolution) and layer.weights.shape[1:3] == (1, 1):
            outputs, *_, inputs = layer.weights.shape
            panels = np.zeros((-(-outputs // PANEL), PANEL, 1, inputs), np.int8)
            panels.reshape(-1, inputs)[:outputs] = layer.weights.reshape(outputs, inputs)
            count += len(listed_words(panels, 0, MOST).offsets) - len(panels) * -(-inputs // 4)
    return count


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_logits_stay_the_same_to_the_bit(channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    plan = random_plan(rng, channels=channels)
    images = random_images(rng, plan, 3)

    ordered = channel_order.paired(plan)

    validate(ordered)
    np.testing.assert_array_equal(reference.run(ordered, images), reference.run(plan, images))


def test_neighbours_that_do_not_fit_cost_less_than_half_of_the_words() -> None:
    rng = np.random.default_rng(0)
    plan = random_plan(rng, channels=64)
    layers = [
        replace(layer, weights=np.clip(rng.normal(0, 40, layer.weights.shape), -127, 127).astype(np.int8))
        if isinstance(layer, Convolution)
        else layer
        for layer in plan.layers
    ]
    plan = replace(plan, layers=tuple(layers))

    assert _extra_words(channel_order.paired(plan)) < 0.45 * _extra_words(plan)


def test_the_same_network_gives_the_same_order() -> None:
    plan = random_plan(np.random.default_rng(1))

    for one, other in zip(channel_order.paired(plan).layers, channel_order.paired(plan).layers, strict=True):
        for name, value in vars(one).items():
            np.testing.assert_array_equal(value, getattr(other, name))
