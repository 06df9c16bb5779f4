"""The reference tier equals the text of `plan.py`'s head, computed one output at a time with Python's own integers."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import random_convolution, random_dense, random_images, random_plan

from spark_accel.networks import reference, windows
from spark_accel.networks.plan import Convolution, GlobalAveragePool, MaxPool, output_shape

UInt8 = npt.NDArray[np.uint8]


def _saturated(total: int, multiplier: np.float32, zero_point: int) -> int:
    return int(min(255, max(0, int(np.rint(np.float32(total) * multiplier)) + zero_point)))


def _naive_convolution(layer: Convolution, x: UInt8, residual: UInt8 | None) -> UInt8:
    rows, columns, out = output_shape(layer, x.shape[1:])
    y = np.empty((x.shape[0], rows, columns, out), np.uint8)
    for image, row, column, channel in np.ndindex(*y.shape):
        total = int(layer.bias[channel])
        for i, j, c in np.ndindex(*layer.weights.shape[1:]):
            r = row * layer.stride[0] + i - layer.padding[0]
            k = column * layer.stride[1] + j - layer.padding[1]
            inside = 0 <= r < x.shape[1] and 0 <= k < x.shape[2]
            total += int(x[image, r, k, c] if inside else layer.pad_value[c]) * int(layer.weights[channel, i, j, c])
        if residual is not None:
            total += int(residual[image, row, column, channel]) * int(layer.residual_multiplier[channel])
        y[image, row, column, channel] = _saturated(total, layer.multiplier[channel], int(layer.zero_point[channel]))
    return y


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_convolution_equals_its_definition(data: st.DataObject) -> None:
    side = st.integers(1, 4)
    kernel, stride = data.draw(st.tuples(side, side)), data.draw(st.tuples(side, side))
    padding = tuple(data.draw(st.integers(0, kernel[i % 2] - 1)) for i in range(4))
    shape = (data.draw(st.integers(kernel[0], 7)), data.draw(st.integers(kernel[1], 7)), data.draw(st.integers(1, 5)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    residual_name = data.draw(st.sampled_from([None, "r"]))
    layer = random_convolution(
        rng, shape, data.draw(st.integers(1, 5)), kernel, stride, padding=padding, residual=residual_name, relu=False
    )
    x = rng.integers(0, 256, (2, *shape), np.uint8)
    residual = None if residual_name is None else rng.integers(0, 256, (2, *output_shape(layer, shape)), np.uint8)

    y = reference.convolution(layer, x, residual)

    np.testing.assert_array_equal(y, _naive_convolution(layer, x, residual))


def test_convolution_is_exact_where_sums_exceed_what_one_float32_can_count() -> None:
    rng = np.random.default_rng(0)
    layer = random_convolution(rng, (3, 3, 2048), 2, relu=False)
    layer.weights[0] = 127
    layer.weights[1] = -128
    layer.multiplier[:] = 1e-7
    x = rng.integers(200, 256, (1, 3, 3, 2048), np.uint8)

    y = reference.convolution(layer, x)

    np.testing.assert_array_equal(y, _exact_large(layer, x))


def _exact_large(layer: Convolution, x: UInt8) -> UInt8:
    padded = np.broadcast_to(layer.pad_value, (1, 5, 5, 2048)).astype(np.int64).copy()
    padded[:, 1:4, 1:4] = x
    y = np.empty((1, 3, 3, 2), np.uint8)
    for row, column, channel in np.ndindex(3, 3, 2):
        window = padded[0, row : row + 3, column : column + 3]
        total = int((window * layer.weights[channel].astype(np.int64)).sum()) + int(layer.bias[channel])
        y[0, row, column, channel] = _saturated(total, layer.multiplier[channel], int(layer.zero_point[channel]))
    return y


def test_convolution_in_bands_of_rows_equals_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    layer = random_convolution(rng, (13, 9, 4), 6, (3, 3), (2, 1))
    x = rng.integers(0, 256, (5, 13, 9, 4), np.uint8)
    whole = reference.convolution(layer, x)

    monkeypatch.setattr(windows, "BLOCK_BYTES", 2 * 9 * 36 * 4)

    np.testing.assert_array_equal(reference.convolution(layer, x), whole)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_max_pool_equals_its_definition(data: st.DataObject) -> None:
    side = st.integers(1, 4)
    kernel, stride = data.draw(st.tuples(side, side)), data.draw(st.tuples(side, side))
    top, left, bottom, right = (data.draw(st.integers(0, kernel[i % 2] - 1)) for i in range(4))
    shape = (data.draw(st.integers(kernel[0], 9)), data.draw(st.integers(kernel[1], 9)), 3)
    x = np.random.default_rng(data.draw(st.integers(0, 2**32))).integers(0, 256, (2, *shape), np.uint8)
    layer = MaxPool("m", "image", "y", kernel, stride, (top, left, bottom, right))

    y = reference.max_pool(layer, x)

    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    assert y.shape[1:] == output_shape(layer, shape)
    for row, column in np.ndindex(*y.shape[1:3]):
        i, j = row * stride[0], column * stride[1]
        np.testing.assert_array_equal(
            y[:, row, column], padded[:, i : i + kernel[0], j : j + kernel[1]].max(axis=(1, 2))
        )


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32))
def test_global_average_pool_rounds_half_to_even_and_saturates(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (2, height, width, 3), np.uint8)
    layer = GlobalAveragePool("g", "image", "y", np.array([0.5, 1 / (height * width), 1e-3], np.float32))

    y = reference.global_average_pool(layer, x)

    for image, channel in np.ndindex(2, 3):
        expected = _saturated(int(x[image, :, :, channel].sum(dtype=int)), layer.multiplier[channel], 0)
        assert y[image, 0, 0, channel] == expected


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**32))
def test_dense_equals_its_definition(channels: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer = random_dense(rng, channels, classes, input="x")
    x = rng.integers(0, 256, (3, 1, 1, channels), np.uint8)

    logits = reference.dense(layer, x)

    exact = x.reshape(3, -1).astype(int) @ layer.weights.T.astype(int) + layer.bias
    np.testing.assert_array_equal(logits, exact.astype(np.float32) * layer.multiplier)
    assert logits.dtype == np.float32


def test_the_answer_to_an_image_does_not_depend_on_its_batch() -> None:
    rng = np.random.default_rng(2)
    plan = random_plan(rng)
    images = random_images(rng, plan, 7)

    together = reference.run(plan, images)

    alone = [reference.run(plan, images[i : i + 1]) for i in range(7)]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    assert len(np.unique(together)) > 30
