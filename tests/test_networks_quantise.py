"""Quantisation: close to float, exact in its bookkeeping (zeros, borders), sane on dead and constant values."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_models import resnet

from spark_accel.networks import calibration, float_network, fold, onnx_reader, reference, rounding
from spark_accel.networks.float_network import FloatNetwork, FusedConvolution
from spark_accel.networks.graph import Dense, GlobalAveragePool
from spark_accel.networks.plan import Convolution
from spark_accel.networks.preprocessing import PREPROCESSINGS
from spark_accel.networks.quantise import quantise
from spark_accel.networks.rounding import SecondMoment
from spark_accel.networks.windows import Window

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]


def _images(count: int, side: int = 64, seed: int = 0) -> UInt8:
    """Smooth images, as photographs are: noise of all scales."""
    rng = np.random.default_rng(seed)
    total = np.zeros((count, side, side, 3))
    for scale in (1, 4, 16, 64):
        coarse = rng.normal(size=(count, -(-side // scale), -(-side // scale), 3)) * scale
        total += coarse.repeat(scale, 1).repeat(scale, 2)[:, :side, :side]
    return np.clip(total * 2 + 128, 0, 255).astype(np.uint8)


def _error(logits: Float32, expected: Float32) -> float:
    return float(np.linalg.norm(logits - expected) / np.linalg.norm(expected - expected.mean()))


@pytest.mark.parametrize(("depth", "version"), [(18, "v1.5"), (50, "v1"), (50, "v1.5")])
def test_a_quantised_network_stays_close_to_the_float_one(tmp_path: object, depth: int, version: str) -> None:
    model = resnet(depth, version)
    path = model.save(tmp_path / "model.onnx", model.nodes[-1].output[0])
    network = fold.fold(onnx_reader.read(path), PREPROCESSINGS["torch"])

    plan = quantise(network, _images(32))

    unseen = _images(16, seed=1)
    assert _error(reference.run(plan, unseen), float_network.run(network, unseen)) < 0.1


def test_the_same_images_give_the_same_plan(tmp_path: object) -> None:
    model = resnet(18)
    path = model.save(tmp_path / "model.onnx", model.nodes[-1].output[0])
    network = fold.fold(onnx_reader.read(path), PREPROCESSINGS["torch"])

    one, other = quantise(network, _images(4)), quantise(network, _images(4))

    for left, right in zip(one.layers, other.layers, strict=True):
        for name, value in vars(left).items():
            np.testing.assert_array_equal(value, getattr(right, name))


def _network(weights: Float32, bias: Float32, *, relu: bool = True, pad_value: Float32 | None = None) -> FloatNetwork:
    """One 3x3 convolution of the image and a dense layer over its mean."""
    out = len(bias)
    zero = np.zeros(3, np.float32)
    window = Window((3, 3), (1, 1), (1, 1, 1, 1))
    pad_value = zero if pad_value is None else pad_value
    convolution = FusedConvolution("c", "image", "c", weights, bias, window, pad_value, relu)
    dense = Dense("d", "g", "d", np.eye(out, dtype=np.float32), np.zeros(out, np.float32))
    return FloatNetwork(16, 16, (convolution, GlobalAveragePool("g", "c", "g"), dense))


def test_values_of_both_signs_survive_without_a_relu() -> None:
    weights = np.random.default_rng(0).normal(0, 0.1, (4, 3, 3, 3)).astype(np.float32)
    network = _network(weights, np.array([-50, 0, 50, 5], np.float32), relu=False)

    plan = quantise(network, _images(8, 16))

    (first, *_) = plan.layers
    assert isinstance(first, Convolution)
    (_, y), *_ = reference.activations(plan, _images(8, 16))
    expected = float_network.execute(network.layers[0], _images(8, 16).astype(np.float32))
    scale = calibration.signed(expected).scale
    assert np.abs((y.astype(np.float32) - first.zero_point) * scale - expected).max() < 2 * scale.max()


def test_the_border_has_the_mean_pixel_rounded() -> None:
    weights = np.ones((1, 3, 3, 3), np.float32)
    network = _network(weights, np.zeros(1, np.float32), pad_value=PREPROCESSINGS["torch"].mean)

    plan = quantise(network, _images(2, 16))

    assert plan.layers[0].pad_value.tolist() == [124, 116, 104]


def test_dead_channels_and_black_images_give_a_valid_plan() -> None:
    weights = np.zeros((3, 3, 3, 3), np.float32)
    weights[1] = -1
    network = _network(weights, np.array([0, 0, 7], np.float32))

    plan = quantise(network, np.zeros((2, 16, 16, 3), np.uint8))

    logits = reference.run(plan, np.zeros((1, 16, 16, 3), np.uint8))
    np.testing.assert_allclose(logits, [[0, 0, 7]], atol=0.05)


@settings(max_examples=25, deadline=None, derandomize=True)  # greedy as it is, it may lose now and then
@given(st.integers(2, 200), st.integers(1, 9), st.integers(0, 2**32))
def test_compensated_rounding_changes_outputs_less_than_nearest(terms: int, out: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(terms, terms))
    inputs = np.maximum(rng.normal(size=(4 * terms, terms)) @ mixing, 0).astype(np.float32)
    weights = rng.normal(0, 40, (out, terms)).astype(np.float32).clip(-120, 120)
    moment = SecondMoment(len(inputs), len(inputs))
    moment.add(inputs)

    rounded = rounding.compensated(weights, moment.mean())

    assert np.array_equal(rounded, np.rint(rounded))
    assert np.abs(rounded).max() <= rounding.LARGEST
    change = np.linalg.norm(inputs @ (rounded - weights).T)
    assert change <= 1.05 * np.linalg.norm(inputs @ (rounding.nearest(weights) - weights).T)


def test_rounding_without_any_input_is_to_the_nearest() -> None:
    weights = np.array([[1.4, -2.6]], np.float32)

    assert rounding.compensated(weights, np.zeros((2, 2), np.float32)).tolist() == [[1, -3]]


@given(st.floats(1e-6, 1e6), st.integers(0, 2**32))
def test_a_range_cuts_off_only_what_costs_less_than_it_gains(largest: float, seed: int) -> None:
    values = np.random.default_rng(seed).uniform(0, largest, (1, 8, 8, 4)).astype(np.float32)

    scale = calibration.non_negative(values).scale[0]

    step = values.max() / 255
    error = np.clip(np.rint(values / scale), 0, 255) * scale - values
    assert np.square(error).mean() < 1.5 * step**2 / 12 + 1e-30
