"""The logistic regression kernels on a real OpenCL device, tier by tier, against the numpy reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import REFERENCE, Case, Float64, as_partition, assert_close, assert_same, cases, engine, tiers
from scipy.special import logsumexp

from spark_accel.estimators.rows import DataError
from spark_accel.estimators.sums import LogisticSums

each_tier = pytest.mark.parametrize("tier", tiers("logistic"))
# Of powers of two even numbers of this size cancel to 0, in any order; from 127 on they overflow float32.
EXPONENTS = [10, 66, 100, 126, 127, 1000]
steepness = st.sampled_from([0.1, 1.0, 30.0])


def assert_equals(
    found: LogisticSums, expected: LogisticSums, case: Case, matrix: Float64, intercepts: Float64
) -> None:
    """`matrix` [classes, features]. A margin's error is one of the loss, and a relative one of the probabilities."""
    data, precision = case.partition, case.precision
    margins = data.x @ matrix.T + intercepts
    sizes = 1.0 + (np.abs(data.x) @ np.abs(matrix).T + np.abs(intercepts)).max(axis=1)
    probabilities = np.exp(margins - logsumexp(margins, axis=1, keepdims=True))
    multipliers = probabilities * (1.0 - np.eye(len(matrix))[data.labels])
    multipliers += multipliers.sum(axis=1, keepdims=True) * np.eye(len(matrix))[data.labels]
    multipliers *= (data.weights * sizes)[:, None]
    gradient, multiplier_sums = multipliers.T @ np.abs(data.x), multipliers.sum(axis=0)
    if len(found.gradient) < len(matrix):
        gradient, multiplier_sums = gradient[1:], multiplier_sums[1:]
    # The reference's own multipliers are differences of numbers near 1.
    rounding = 1e-15 * data.weights.sum()
    assert_close(found.loss, expected.loss, precision * (data.weights @ sizes) + precision * expected.loss)
    assert_close(found.gradient, expected.gradient, precision * gradient + rounding * (1 + np.abs(data.x).max()))
    assert_close(found.multiplier_sums, expected.multiplier_sums, precision * multiplier_sums + rounding)


@each_tier
@settings(max_examples=25)
@given(cases(most_sets=2), steepness)
def test_a_binomial_loss_is_the_references_resident_or_streamed(tier: str, case: Case, scale: float) -> None:
    coefficients = case.rng.normal(0.0, scale, case.partition.features)
    intercept = float(case.rng.normal())
    resident, streamed, reference = case.loaded(tier)

    found = engine(tier).binomial(resident, coefficients, intercept)

    expected = REFERENCE.binomial(reference, coefficients, intercept)
    both = np.stack([np.zeros_like(coefficients), coefficients])
    assert_equals(found, expected, case, both, np.array([0.0, intercept]))
    assert_same(found, engine(tier).binomial(resident, coefficients, intercept))
    assert_same(found, engine(tier).binomial(streamed, coefficients, intercept))


@each_tier
@settings(max_examples=25)
@given(cases(most_sets=30), steepness)
def test_a_multinomial_loss_is_the_references_resident_or_streamed(tier: str, case: Case, scale: float) -> None:
    coefficients = case.rng.normal(0.0, scale, (case.sets, case.partition.features))
    intercepts = case.rng.normal(size=case.sets)
    resident, streamed, reference = case.loaded(tier)

    found = engine(tier).multinomial(resident, coefficients, intercepts)

    expected = REFERENCE.multinomial(reference, coefficients, intercepts)
    assert_equals(found, expected, case, coefficients, intercepts)
    assert_same(found, engine(tier).multinomial(resident, coefficients, intercepts))
    assert_same(found, engine(tier).multinomial(streamed, coefficients, intercepts))


@each_tier
@pytest.mark.parametrize("precision", [np.float32, np.float64])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_margins_of_any_size_give_the_references_loss_and_gradient(
    tier: str, precision: type, sparse: bool, exponent: int
) -> None:
    rng = np.random.default_rng(3)
    x = rng.choice([-2.0, 0.0, 1.0, 3.0], (64, 5)).astype(precision)
    data = as_partition(rng, x, 3, sparse, weighted=True)
    coefficients = 2.0**exponent * rng.choice([-1.0, 0.0, 1.0], (3, 5))
    rows, reference = engine(tier).load(data.as_rows(), True), REFERENCE.load(data.as_rows(), True)

    found = engine(tier).multinomial(rows, coefficients, np.zeros(3))

    expected = REFERENCE.multinomial(reference, coefficients, np.zeros(3))
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-6)
    np.testing.assert_allclose(found.gradient, expected.gradient, rtol=1e-5, atol=1e-5)


@each_tier
@pytest.mark.parametrize("precision", [np.float32, np.float64])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_binomial_margins_of_any_size_give_the_references_loss_and_gradient(
    tier: str, precision: type, sparse: bool, exponent: int
) -> None:
    rng = np.random.default_rng(4)
    x = rng.choice([-2.0, 0.0, 1.0, 3.0], (64, 5)).astype(precision)
    data = as_partition(rng, x, 2, sparse, weighted=True)
    coefficients = 2.0**exponent * np.array([1.0, -1.0, 0.5, 0.0, 1.0])
    rows, reference = engine(tier).load(data.as_rows(), True), REFERENCE.load(data.as_rows(), True)

    found = engine(tier).binomial(rows, coefficients, 0.0)

    expected = REFERENCE.binomial(reference, coefficients, 0.0)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-6)
    np.testing.assert_allclose(found.gradient, expected.gradient, rtol=1e-5, atol=1e-5)


@each_tier
def test_a_row_that_is_certain_of_its_label_keeps_the_digits_of_its_small_loss(tier: str) -> None:
    data = as_partition(np.random.default_rng(0), np.ones((7, 1), np.float32), 1, sparse=False, weighted=False)
    data.columns["labels"][:] = 1
    rows = engine(tier).load(data.as_rows(), True)

    found = engine(tier).binomial(rows, np.array([30.0]), 0.0)

    np.testing.assert_allclose(found.loss, 7 * np.exp(-30.0), rtol=1e-6)
    np.testing.assert_allclose(found.gradient, [[-7 * np.exp(-30.0)]], rtol=1e-6)


@each_tier
@pytest.mark.parametrize("resident", [True, False])
def test_labels_that_are_no_class_are_refused_before_a_kernel_reads_them(tier: str, resident: bool) -> None:
    data = as_partition(np.random.default_rng(0), np.ones((9, 3), np.float32), 3, sparse=False, weighted=False)
    data.columns["labels"][4] = 3
    rows = engine(tier).load(data.as_rows(), resident)

    with pytest.raises(DataError, match=r"'labels' has values from 0 to 3, expected 0 to 2"):
        engine(tier).multinomial(rows, np.zeros((3, 3)), np.zeros(3))
    with pytest.raises(DataError, match=r"expected 0 to 1"):
        engine(tier).binomial(rows, np.zeros(3), 0.0)
