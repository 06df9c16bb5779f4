"""Where the activations of a network lie, and from which layer on its images are made together."""

from math import prod

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import random_plan

from spark_accel.daemon.activation_memory import assign
from spark_accel.daemon.network_program import IMAGES_A_GROUP, best_split
from spark_accel.daemon.opencl_launch import group_size, largest_group
from spark_accel.networks.plan import INPUT, Convolution, Dense, Layer, Plan

plans = st.builds(
    lambda blocks, channels, seed: random_plan(np.random.default_rng(seed), blocks=tuple(blocks), channels=channels),
    st.lists(st.integers(1, 3), min_size=1, max_size=4),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
)


def read(layer: Layer) -> set[str]:
    residual = layer.residual if isinstance(layer, Convolution) else None
    return {layer.input} | ({residual} if residual else set())


@settings(max_examples=60)
@given(plans, st.integers(0, 50))
def test_activations_that_are_needed_at_once_have_buffers_of_their_own(plan: Plan, split: int) -> None:
    memory = assign(plan, split)

    content = {memory.buffer[INPUT]: INPUT}
    for layer in plan.layers:
        for name in read(layer):
            assert content[memory.buffer[name]] == name
        if not isinstance(layer, Dense):
            assert memory.sizes[memory.buffer[layer.output]] >= prod(plan.shapes()[layer.output])
            assert memory.buffer[layer.output] not in {memory.buffer[name] for name in read(layer)}
            content[memory.buffer[layer.output]] = layer.output
    assert max(memory.late.count(True), memory.late.count(False)) <= 4


@settings(max_examples=60)
@given(plans, st.integers(0, 50))
def test_what_layers_from_the_split_on_use_shares_no_buffer_with_the_rest(plan: Plan, split: int) -> None:
    memory = assign(plan, split)

    late = set().union(*(read(layer) | {layer.output} for layer in plan.layers[split:]))
    for name, buffer in memory.buffer.items():
        assert memory.late[buffer] == (name in late)


@given(st.integers(1, 200), st.integers(1, 40))
def test_no_group_of_a_batch_is_larger_than_there_is_memory_for(max_batch: int, threads: int) -> None:
    for n in range(1, max_batch + 1):
        size = group_size(n, threads)
        assert 1 <= size <= largest_group(max_batch, threads) <= IMAGES_A_GROUP


@settings(max_examples=60)
@given(plans)
def test_the_split_moves_the_fewest_bytes(plan: Plan) -> None:
    """An image more in a group moves the weights of the layers before the split, and the activations of the others."""
    shapes = plan.shapes()

    def activations(layer: Layer) -> int:
        return sum(prod(shapes[name]) for name in [*read(layer), layer.output] if name in shapes)

    def weights(layer: Layer) -> int:
        return layer.weights.nbytes if isinstance(layer, Convolution | Dense) else 0

    def moved(split: int) -> int:
        return sum(map(weights, plan.layers[:split])) + sum(map(activations, plan.layers[split:]))

    assert moved(best_split(plan)) == min(map(moved, range(len(plan.layers) + 1)))
