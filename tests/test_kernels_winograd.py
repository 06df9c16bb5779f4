"""3x3 convolutions by Winograd's algorithm equal the reference, in the tier whose elements hold its inputs."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import DEVICE
from network_targets import Target, assert_equals_reference, plan_around
from plans import Shape, random_convolution, random_images

from spark_accel.daemon import kernels
from spark_accel.daemon.devices import properties
from spark_accel.networks import winograd

TIER = "x86-avx2"
sides = st.integers(1, 13)
paddings = st.tuples(*[st.integers(0, 2)] * 4)


@pytest.fixture(scope="module")
def target() -> Target:
    (chosen,) = (one for one in kernels.tiers(kernels.folder() / "network") if one.name == TIER)
    if lacking := properties(DEVICE).lacks(chosen.requires):
        pytest.skip(f"the device lacks {', '.join(lacking)}")
    return Target(DEVICE, TIER)


@settings(max_examples=60, deadline=None)
@given(
    st.data(),
    st.tuples(sides, sides, st.sampled_from([16, 32, 48, 192])),
    st.tuples(st.integers(1, 70), st.integers(1, 9)),
    st.integers(0, 2**32 - 1),
)
def test_outputs_of_any_size_with_and_without_residual(
    target: Target, data: st.DataObject, shape: Shape, size: tuple[int, int], seed: int
) -> None:
    out, n = size
    rng = np.random.default_rng(seed)
    padding = data.draw(paddings.filter(lambda p: min(shape[0] + p[0] + p[2], shape[1] + p[1] + p[3]) >= 3))
    options = {"padding": padding, "input": "x", "relu": data.draw(st.booleans())}
    residual = data.draw(st.sampled_from([None, "r"]))
    r = random_convolution(rng, shape, out, output="r", **options)
    y = random_convolution(rng, shape, out, output="y", residual=residual, **options)
    assert winograd.suits(y)
    plan = plan_around(rng, shape, *([r, y] if residual else [y]))

    assert_equals_reference(target, plan, random_images(rng, plan, n))


@pytest.mark.parametrize("pixel", [0, 255])
@pytest.mark.parametrize("signs", ["all negative", "all positive", "by channel", "by place"])
def test_the_largest_sums_are_exact(target: Target, signs: str, pixel: int) -> None:
    rng = np.random.default_rng(0)
    channels = {"by channel": 224, "by place": 192}.get(signs, 112)  # with 32 more they would not fit
    shape = (5, 6, channels)
    layer = random_convolution(rng, shape, 33, padding=(2, 2, 2, 2), input="x", relu=False)
    weights = {"all negative": -128, "all positive": 127, "by channel": np.tile([-128, 127], channels // 2)}
    by_place = np.array([[-128, 127, -128], [127, -128, 127], [-128, 127, -128]])[:, :, np.newaxis]
    pad_value = np.full(channels, 255, np.uint8)
    if signs == "by channel":
        pad_value[::2] = 0  # so that products of one sign are left
    layer = replace(
        layer,
        weights=np.broadcast_to(weights.get(signs, by_place), layer.weights.shape).astype(np.int8),
        multiplier=np.full(33, 2.0**-19, np.float32),
        pad_value=pad_value,
    )
    assert winograd.suits(layer)
    plan = plan_around(rng, shape, layer)

    assert_equals_reference(target, plan, np.full((2, 5, 6, 3), pixel, np.uint8))


def test_sums_that_would_not_fit_are_made_another_way(target: Target) -> None:
    rng = np.random.default_rng(0)
    shape = (3, 3, 128)
    layer = random_convolution(rng, shape, 5, input="x", relu=False)
    layer = replace(layer, weights=np.full_like(layer.weights, -128), pad_value=np.full(128, 255, np.uint8))
    plan = plan_around(rng, shape, layer)

    assert not winograd.suits(layer)
    assert_equals_reference(target, plan, np.full((1, 3, 3, 3), 255, np.uint8))


@pytest.mark.parametrize(
    ("kernel", "stride", "channels"),
    [((3, 3), (2, 2), 16), ((3, 3), (1, 2), 16), ((1, 3), (1, 1), 16), ((3, 3), (1, 1), 24)],
)
def test_what_it_is_not_for(kernel: tuple[int, int], stride: tuple[int, int], channels: int) -> None:
    assert not winograd.suits(random_convolution(np.random.default_rng(0), (9, 9, channels), 8, kernel, stride))
