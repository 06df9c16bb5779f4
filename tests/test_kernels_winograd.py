"""3x3 convolutions by Winograd's algorithm equal the reference, and are made so where that is faster."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyopencl as cl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network_targets import Target, assert_equals_reference, plan_around, target_of
from plans import Shape, random_convolution, random_images

from spark_accel.daemon import fastest_launch, opencl_launch
from spark_accel.daemon.kernels import Tier
from spark_accel.daemon.network import DeviceMemoryError
from spark_accel.daemon.network_program import Program, program, suited_to_winograd
from spark_accel.daemon.opencl_launch import NetworkLaunch
from spark_accel.daemon.opencl_network_memory import NetworkMemory
from spark_accel.networks import reference, winograd
from spark_accel.networks.plan import Convolution, Plan

SOURCE, WINOGRAD = -3, 3  # of layer_t: the field, its value
PANEL = {"x86-avx512vnni": 32, "x86-avxvnni": 16, "x86-avx2": 16}
sides = st.integers(1, 13)
paddings = st.tuples(*[st.integers(0, 2)] * 4)


@pytest.fixture(scope="module", params=PANEL)
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target_of(request.param, tmp_path_factory.mktemp("kernels")) as target:
        yield target


@pytest.fixture
def vnni(target: Target) -> Target:
    if "vnni" not in target.tier:
        pytest.skip("this tier has all of them made so")
    return target


@settings(max_examples=60, deadline=None)
@given(
    st.data(),
    st.tuples(sides, sides),
    st.sampled_from([1, 2, 6]),
    st.tuples(st.integers(1, 140), st.integers(1, 9), st.integers(0, 2**32 - 1)),
)
def test_outputs_of_any_size_with_and_without_residual(
    target: Target, data: st.DataObject, side: tuple[int, int], panels: int, others: tuple[int, int, int]
) -> None:
    shape: Shape = (*side, panels * PANEL[target.tier])
    out, n, seed = others
    rng = np.random.default_rng(seed)
    padding = data.draw(paddings.filter(lambda p: min(shape[0] + p[0] + p[2], shape[1] + p[1] + p[3]) >= 3))
    options = {"padding": padding, "input": "x", "relu": data.draw(st.booleans())}
    residual = data.draw(st.sampled_from([None, "r"]))
    r = random_convolution(rng, shape, out, output="r", **options)
    y = random_convolution(rng, shape, out, output="y", residual=residual, **options)
    assert winograd.suits(y, PANEL[target.tier])
    plan = plan_around(rng, shape, *([r, y] if residual else [y]))

    assert_equals_reference(target, plan, random_images(rng, plan, n))


@pytest.mark.parametrize("pixel", [0, 255])
@pytest.mark.parametrize("signs", ["all negative", "all positive", "by channel", "by place"])
def test_the_largest_sums_are_exact(target: Target, signs: str, pixel: int) -> None:
    rng = np.random.default_rng(0)
    channels = {"by channel": 224, "by place": 192}.get(signs, 96)  # with 32 more they would not fit
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
    assert winograd.suits(layer, PANEL[target.tier])
    plan = plan_around(rng, shape, layer)

    assert_equals_reference(target, plan, np.full((2, 5, 6, 3), pixel, np.uint8))


def test_the_largest_transformed_inputs_are_exact(target: Target) -> None:
    rng = np.random.default_rng(0)
    shape = (6, 6, 32)
    layer = random_convolution(rng, shape, 33, padding=(0, 0, 0, 0), input="x", relu=False)
    plan = plan_around(rng, shape, layer)
    first = plan.layers[0]
    assert isinstance(first, Convolution)
    as_it_is = np.zeros_like(first.weights)
    as_it_is[..., 0] = 64
    scale = np.full_like(first.multiplier, 1 / 64)
    first = replace(first, weights=as_it_is, multiplier=scale, bias=first.bias * 0, zero_point=first.zero_point * 0)
    plan = replace(plan, layers=(first, *plan.layers[1:]))
    image = np.zeros((1, 6, 6, 3), np.uint8)
    image[:, 1:3, 1:3] = image[:, 3:5, 3:5] = 255  # where the transform of both axes adds most: 68 times as much

    assert_equals_reference(target, plan, image)


def test_sums_that_would_not_fit_are_made_another_way(target: Target) -> None:
    rng = np.random.default_rng(0)
    shape = (3, 3, 128)
    layer = random_convolution(rng, shape, 5, input="x", relu=False)
    layer = replace(layer, weights=np.full_like(layer.weights, -128), pad_value=np.full(128, 255, np.uint8))
    plan = plan_around(rng, shape, layer)

    assert not winograd.suits(layer, PANEL[target.tier])
    assert_equals_reference(target, plan, np.full((1, 3, 3, 3), 255, np.uint8))


@pytest.mark.parametrize(
    ("kernel", "stride", "channels"),
    [((3, 3), (2, 2), 16), ((3, 3), (1, 2), 16), ((1, 3), (1, 1), 16), ((3, 3), (1, 1), 24)],
)
def test_what_it_is_not_for(kernel: tuple[int, int], stride: tuple[int, int], channels: int) -> None:
    assert not winograd.suits(random_convolution(np.random.default_rng(0), (9, 9, channels), 8, kernel, stride), 16)


def two_layers(rng: np.random.Generator) -> Plan:
    r = random_convolution(rng, (8, 8, 32), 32, input="x", output="r")
    return plan_around(rng, (8, 8, 32), r, random_convolution(rng, (8, 8, 32), 32, input="r", output="y"))


def test_the_faster_layers_are_found_by_running_both_ways(vnni: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = two_layers(np.random.default_rng(0))
    runs: list[int] = []

    def profile(_: NetworkLaunch, n: int) -> list[float]:
        runs.append(n)
        by_winograd = [1.0, 1.0, 3.0, 1.0, 1.0]  # of x, r, y, average, logits
        return by_winograd if len(runs) <= 3 else [2.0] * 5

    monkeypatch.setattr(NetworkLaunch, "profile", profile)
    chosen: list[frozenset[str]] = []

    def noted(plan: Plan, tier: Tier, by_winograd: frozenset[str], threads: int) -> Program:
        made = program(plan, tier, by_winograd, threads)
        chosen.append(by_winograd)
        made_so = made.layers[:, SOURCE] == WINOGRAD
        assert by_winograd == {layer.output for layer, so in zip(plan.layers, made_so, strict=True) if so}
        return made

    monkeypatch.setattr(opencl_launch, "program", noted)
    vnni.network(plan, 2)

    assert runs == [2] * 6
    assert chosen == [{"r", "y"}, set(), {"r"}]


def test_outputs_are_the_same_whatever_was_found(vnni: Target) -> None:
    rng = np.random.default_rng(0)
    plan = two_layers(rng)
    images = random_images(rng, plan, 3)

    logits = vnni.network(plan, 3).run(images)

    np.testing.assert_array_equal(logits, dict(reference.activations(plan, images))["logits"])


@pytest.mark.parametrize("shortage", [DeviceMemoryError("too much"), MemoryError(), cl.MemoryError()])
def test_without_room_for_transformed_weights_there_are_none(
    vnni: Target, monkeypatch: pytest.MonkeyPatch, shortage: Exception
) -> None:
    plan = two_layers(np.random.default_rng(0))
    asked: list[frozenset[str]] = []

    def scarce(plan: Plan, tier: Tier, by_winograd: frozenset[str], threads: int) -> Program:
        asked.append(by_winograd)
        if by_winograd:
            raise shortage
        return program(plan, tier, by_winograd, threads)

    monkeypatch.setattr(opencl_launch, "program", scarce)
    vnni.network(plan, 2)

    assert asked == [{"r", "y"}, set()]


def test_where_all_are_made_so_there_are_none_without_room_either(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = two_layers(np.random.default_rng(0))
    images = random_images(np.random.default_rng(1), plan, 3)
    monkeypatch.setattr(fastest_launch, "faster_by_winograd", lambda plan, tier, *_: suited_to_winograd(plan, tier))
    wanted: list[int] = []

    def require(memory: NetworkMemory, total: int, largest: int, images: int) -> None:
        wanted.append(total)
        if total == max(wanted):  # transformed weights are more bytes
            raise DeviceMemoryError("too much")
        real(memory, total, largest, images)

    real = NetworkMemory.require
    monkeypatch.setattr(NetworkMemory, "require", require)
    logits = target.network(plan, 3).run(images)

    assert len(wanted) == 2
    np.testing.assert_array_equal(logits, dict(reference.activations(plan, images))["logits"])
