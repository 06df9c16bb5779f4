"""The network kernels on a real OpenCL device equal the numpy reference bit for bit: layers, and whole networks.

Every promise is held to each tier; what this machine's processor lacks is spelled out (`plain_kernels.py`).
"""

import os
import threading
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyopencl as cl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import DEVICE
from network_targets import Target, assert_equals_reference, plan_around, target
from plans import Shape, random_convolution, random_dense, random_images, random_plan

from spark_accel.daemon import activation_memory, kernels, network_program, opencl_launch, opencl_layers
from spark_accel.daemon.network import Network
from spark_accel.daemon.opencl_network import OpenCLNetwork
from spark_accel.daemon.reference_network import ReferenceNetwork
from spark_accel.networks import reference
from spark_accel.networks.plan import (
    MAX_RESIDUAL_MULTIPLIER,
    Convolution,
    GlobalAveragePool,
    MaxPool,
    Plan,
)

__all__ = ["target"]
UInt8 = npt.NDArray[np.uint8]

sides = st.integers(1, 13)
channel_counts = st.one_of(st.integers(1, 40), st.sampled_from([64, 100, 255, 256, 257, 300]))
shapes = st.tuples(sides, sides, channel_counts)
batches = st.one_of(st.integers(1, 9), st.sampled_from([31, 64, 127, 128]))
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def device() -> cl.Device:
    return DEVICE


@st.composite
def windows(
    draw: st.DrawFn, height: int, width: int
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int]]:
    """Kernel, stride and padding that fit an input of this size."""
    kernel = draw(st.integers(1, min(7, height + 2))), draw(st.integers(1, min(7, width + 2)))
    stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    padding = [draw(st.integers(0, side - 1)) for side in kernel]
    least = [max(0, kernel[0] - height - padding[0]), max(0, kernel[1] - width - padding[1])]
    after = [draw(st.integers(least[axis], kernel[axis] - 1)) for axis in (0, 1)]
    return kernel, stride, (padding[0], padding[1], after[0], after[1])


@settings(max_examples=150, deadline=None)
@given(st.data(), shapes, batches, seeds)
def test_a_convolution_of_any_shape_equals_the_reference(
    target: Target, data: st.DataObject, shape: Shape, n: int, seed: int
) -> None:
    out = data.draw(channel_counts, label="out")
    kernel, stride, padding = data.draw(windows(*shape[:2]))
    rng = np.random.default_rng(seed)
    options = {"padding": padding, "input": "x", "relu": data.draw(st.booleans())}
    layers = [random_convolution(rng, shape, out, kernel, stride, output="y", **options)]
    if data.draw(st.booleans(), label="residual"):
        r = random_convolution(rng, shape, out, kernel, stride, output="r", **options)
        y = random_convolution(rng, shape, out, kernel, stride, output="y", residual="r", **options)
        layers = [r, y]
    plan = plan_around(rng, shape, *layers)

    assert_equals_reference(target, plan, random_images(rng, plan, n))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([-128, -127, 127]),
    st.sampled_from([0, 1, 254, 255]),
    st.tuples(
        st.sampled_from([1e-38, 2**-25, 2**-8, 0.5, 1.0, 1.5, 3e38]),
        st.integers(-(2**31), 2**31 - 1),
        st.sampled_from([0, 1, 128, 255]),
    ),
    st.sampled_from([(1, 1), (40, 3), (256, 2), (300, 1)]),
)
def test_extreme_values_saturate_and_halves_round_to_even_as_in_the_reference(
    target: Target, weight: int, pixel: int, requantisation: tuple[float, int, int], size: tuple[int, int]
) -> None:
    channels, kernel = size
    multiplier, bias, zero_point = requantisation
    rng = np.random.default_rng(0)
    layer = random_convolution(rng, (3, 4, channels), 19, (kernel, kernel), padding=(0, 0, 0, 0), input="x", relu=False)
    bound = 2**31 - 1 - 255 * 128 * channels * kernel * kernel
    layer = replace(
        layer,
        weights=np.full_like(layer.weights, weight),
        bias=np.clip(bias + np.arange(19), -bound, bound).astype(np.int32),
        multiplier=np.full(19, multiplier, np.float32),
        zero_point=np.full(19, zero_point, np.uint8),
    )
    plan = plan_around(rng, (3, 4, channels), layer)

    assert_equals_reference(target, plan, np.full((7, 3, 4, 3), pixel, np.uint8))


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 30), st.one_of(st.integers(1, 12), st.sampled_from([33, 64, 130]))),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sets(st.sampled_from([-128, -127, -65, -64, -1, 0, 1, 63, 64, 65, 127]), min_size=1),
    seeds,
)
def test_large_weights_beside_each_other_do_not_saturate(
    target: Target, shape: Shape, kernel: tuple[int, int], weights: set[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    layer = random_convolution(rng, shape, 35, kernel, input="x", relu=False)
    layer = replace(layer, weights=rng.choice(sorted(weights), layer.weights.shape).astype(np.int8))
    plan = plan_around(rng, shape, replace(layer, pad_value=np.full(shape[2], 255, np.uint8)))
    whatever = plan.layers[0]
    assert isinstance(whatever, Convolution)
    white = replace(
        whatever,
        weights=np.zeros_like(whatever.weights),
        bias=np.zeros_like(whatever.bias),
        zero_point=np.full(shape[2], 255, np.uint8),
    )

    assert_equals_reference(target, replace(plan, layers=(white, *plan.layers[1:])), random_images(rng, plan, 3))


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(30, 45), st.sampled_from([8, 12, 16])),
    st.tuples(st.tuples(st.integers(1, 7), st.integers(3, 7)), st.tuples(st.integers(1, 2), st.integers(1, 2))),
    st.sampled_from(["copied rows", "widened rows"]),
    seeds,
)
def test_rows_are_widened_where_so_many_neighbours_do_not_fit_that_this_is_faster(
    target: Target, shape: Shape, window: tuple[tuple[int, int], tuple[int, int]], source: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    layer = random_convolution(rng, shape, 35, *window, input="x", relu=False)
    weights = layer.weights
    if source == "copied rows":  # few
        weights = np.where(rng.random(weights.shape) < 0.002, 127, weights // 3).astype(np.int8)
        weights[0, 0, 0, :2] = 127
    terms = prod(weights.shape[1:])
    layer = replace(
        layer,
        weights=weights,
        bias=(-128 * weights.astype(np.int64).sum(axis=(1, 2, 3))).astype(np.int32),
        multiplier=np.full(35, 80 / (np.sqrt(terms) * 74 * weights.astype(np.float64).std()), np.float32),
        zero_point=np.full(35, 128, np.uint8),
    )
    plan = plan_around(rng, shape, layer)
    images = random_images(rng, plan, 3)

    if target.tier == "x86-avx2":
        (tier,) = (one for one in kernels.tiers(kernels.folder() / "network") if one.name == target.tier)
        table = network_program.program(plan, tier, frozenset(), threads=2).layers
        assert network_program._SOURCES[table[1, -3]] == source
    outputs = dict(reference.activations(plan, images))["y"]
    assert np.isin(outputs, (0, 255), invert=True).mean() > 0.5
    assert_equals_reference(target, plan, images)


def test_a_residual_counts_exactly_up_to_the_largest_multiplier(target: Target) -> None:
    rng = np.random.default_rng(1)
    shape = (5, 6, 2)
    multipliers = [0, 1, 127, 128, 129, 32767, 32768, 2**21, MAX_RESIDUAL_MULTIPLIER]
    residual_multiplier = np.array([sign * one for one in multipliers for sign in (1, -1)], np.int32)
    out = len(residual_multiplier)
    r = random_convolution(rng, shape, out, (1, 1), output="r", input="x", relu=False)
    y = random_convolution(rng, shape, out, (1, 1), output="y", input="x", residual="r", relu=False)
    scale = 128 / (255 * np.abs(residual_multiplier.astype(np.float64)) + 10_000)
    y = replace(y, residual_multiplier=residual_multiplier, multiplier=scale.astype(np.float32))
    plan = plan_around(rng, shape, r, y)

    assert_equals_reference(target, plan, random_images(rng, plan, 5))


def test_every_half_rounds_to_even(target: Target) -> None:
    """Totals of -600 to 600 times 0.5: every half in and around the range of uint8."""
    totals = np.arange(-600, 601, dtype=np.int32)
    rng = np.random.default_rng(0)
    layer = random_convolution(rng, (1, 1, 1), len(totals), (1, 1), input="x")
    layer = replace(layer, weights=np.zeros_like(layer.weights), bias=totals, multiplier=np.full(1201, 0.5, np.float32))

    assert_equals_reference(target, plan_around(rng, (1, 1, 1), layer), np.zeros((1, 1, 1, 3), np.uint8))


@settings(max_examples=40, deadline=None)
@given(st.data(), shapes, batches, seeds)
def test_a_max_pool_of_any_shape_equals_the_reference(
    target: Target, data: st.DataObject, shape: Shape, n: int, seed: int
) -> None:
    kernel, stride, padding = data.draw(windows(*shape[:2]))
    rng = np.random.default_rng(seed)
    plan = plan_around(rng, shape, MaxPool("y", "x", "y", kernel, stride, padding))

    assert_equals_reference(target, plan, random_images(rng, plan, n))


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(1, 300), batches, seeds)
def test_an_average_pool_and_a_dense_layer_of_any_size_equal_the_reference(
    target: Target, shape: Shape, classes: int, n: int, seed: int
) -> None:
    height, width, channels = shape
    rng = np.random.default_rng(seed)
    first = random_convolution(rng, (height, width, 3), channels, (1, 1), output="y", relu=False)
    multiplier = rng.uniform(0.1, 2, channels) / (height * width)
    average = GlobalAveragePool("average", "y", "average", multiplier.astype(np.float32))
    plan = Plan(height, width, (first, average, random_dense(rng, channels, classes, input="average")))

    assert_equals_reference(target, plan, random_images(rng, plan, n))


@settings(max_examples=25, deadline=None)
@given(st.tuples(st.integers(20, 70), st.integers(20, 70)), st.integers(1, 20), batches, seeds)
def test_whole_networks_equal_the_reference(
    target: Target, size: tuple[int, int], channels: int, n: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    plan = random_plan(rng, height=size[0], width=size[1], channels=channels, classes=2 * channels + 1)
    images = random_images(rng, plan, n)

    logits = target.network(plan, 128).run(images)

    np.testing.assert_array_equal(logits, reference.run(plan, images))


@pytest.mark.parametrize("images_at_once", [1, 3, 7])
@pytest.mark.parametrize("n", [1, 2, 3, 19, 20])
def test_a_batch_in_several_passes_equals_the_reference(
    target: Target, images_at_once: int, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    plan = random_plan(rng)
    images = random_images(rng, plan, n)
    bytes_an_image = sum(activation_memory.assign(plan).sizes)
    monkeypatch.setattr(opencl_layers, "_PASS_BYTES", images_at_once * bytes_an_image)
    for name in ("group_size", "largest_group"):
        monkeypatch.setattr(opencl_launch, name, lambda n, _: min(n, images_at_once))

    logits = target.network(plan, 32).run(images)

    np.testing.assert_array_equal(logits, reference.run(plan, images))


@pytest.mark.parametrize("split", [0, 1, 2, 5, -1])
def test_images_may_be_made_together_from_any_layer_on(
    target: Target, split: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(8)
    plan = random_plan(rng)
    images = random_images(rng, plan, 8)
    monkeypatch.setattr(network_program, "best_split", lambda plan: split % (len(plan.layers) + 1))
    monkeypatch.setattr(opencl_launch, "group_size", lambda n, _: min(n, 3))

    logits = target.network(plan, 8).run(images)

    np.testing.assert_array_equal(logits, reference.run(plan, images))


def test_batches_of_any_size_follow_each_other(target: Target) -> None:
    rng = np.random.default_rng(6)
    plan = random_plan(rng)
    images = random_images(rng, plan, 9)
    network = target.network(plan, 9)
    expected = reference.run(plan, images)

    for n in (9, 1, 8, 2, 2, 9):
        np.testing.assert_array_equal(network.run(images[:n]), expected[:n])


def test_a_profile_names_each_layer_with_its_time(network: Network) -> None:
    network.input_view(3)[:] = random_images(np.random.default_rng(7), network.plan, 3)

    profile = network.profile(3)

    assert [name for name, _ in profile] == [layer.name for layer in network.plan.layers]
    assert all(seconds > 0 for _, seconds in profile)


@pytest.fixture(params=["opencl", "opencl, portable", "reference"])
def network(request: pytest.FixtureRequest, device: cl.Device) -> Network:
    plan = random_plan(np.random.default_rng(2))
    if request.param == "reference":
        return ReferenceNetwork(plan, 8)
    return OpenCLNetwork(plan, device, 8, "portable" if "portable" in request.param else "auto")


def test_images_are_read_from_a_file_into_the_staging_memory(network: Network, tmp_path: Path) -> None:
    images = random_images(np.random.default_rng(3), network.plan, 8)
    path = tmp_path / "images"
    path.write_bytes(images.tobytes())

    with path.open("rb") as file:
        assert os.preadv(file.fileno(), [network.input_view(5)], images[0].nbytes) == images[1:6].nbytes
    logits = network.run_staged(5)

    np.testing.assert_array_equal(logits, reference.run(network.plan, images[1:6]))
    np.testing.assert_array_equal(network.input_view(5), images[1:6])


def test_a_result_stays_when_the_next_batch_runs(network: Network) -> None:
    images = random_images(np.random.default_rng(4), network.plan, 2)

    first = network.run(images[:1])
    network.run(images[1:])

    np.testing.assert_array_equal(first, reference.run(network.plan, images[:1]))


def test_batches_that_are_under_way_together_keep_their_images_and_their_results(network: Network) -> None:
    rng = np.random.default_rng(8)
    batches = [random_images(rng, network.plan, n) for n in (8, 3, 8, 1)]
    begun = []

    for images in batches:
        network.input_view(len(images))[:] = images
        begun.append(network.begin_staged(len(images)))
        if begun[-1].wait is None:  # nothing runs by itself: the images must stay
            break

    for one, images in zip(begun, batches, strict=False):
        np.testing.assert_array_equal(one.result(), reference.run(network.plan, images))


@pytest.mark.parametrize("n", [0, 9, -1])
def test_a_batch_beyond_max_batch_is_refused(network: Network, n: int) -> None:
    with pytest.raises(ValueError, match=f"a batch of {n} images, expected 1 to 8"):
        network.input_view(n)
    with pytest.raises(ValueError, match=f"a batch of {n} images, expected 1 to 8"):
        network.run_staged(n)


def test_images_of_another_shape_or_type_are_refused(network: Network) -> None:
    with pytest.raises(ValueError, match=r"images are uint8 \(1, 5, 5, 3\)"):
        network.run(np.zeros((1, 5, 5, 3), np.uint8))
    with pytest.raises(ValueError, match="images are float32"):
        network.run(np.zeros((1, network.plan.height, network.plan.width, 3), np.float32))  # type: ignore[arg-type]


def test_a_network_runs_while_others_are_loaded(device: cl.Device) -> None:
    rng = np.random.default_rng(5)
    plan = random_plan(rng)
    images = random_images(rng, plan, 16)
    expected = reference.run(plan, images)
    network = OpenCLNetwork(plan, device, 16)

    loading = threading.Thread(target=lambda: [OpenCLNetwork(plan, device, 16).run(images) for _ in range(20)])
    loading.start()
    equal = []
    while loading.is_alive():
        equal.append(np.array_equal(network.run(images), expected))
    loading.join()

    assert equal
    assert all(equal)
