"""The logistic regression kernels on a real OpenCL device, tier by tier, against the numpy reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_bounds import CHANGE_PRECISION, SHORT_SUMS_PRECISION, assert_is_a_loss, sizes_of
from kernel_cases import REFERENCE, Case, Float64, as_partition, assert_close, assert_same, cases, engine, tiers

from spark_accel.estimators.rows import DataError
from spark_accel.estimators.sums import LogisticSums

each_tier = pytest.mark.parametrize("tier", tiers("logistic"))
# Of powers of two even numbers of this size cancel to 0, in any order; the last two overflow float32.
EXPONENTS = [10, 66, 126, 127, 1000]
steepness = st.sampled_from([0.1, 1.0, 30.0])


@each_tier
@settings(max_examples=25)
@given(cases(most_sets=2), steepness)
def test_a_binomial_loss_is_the_references_resident_or_streamed(tier: str, case: Case, scale: float) -> None:
    coefficients = case.rng.normal(0.0, scale, case.partition.features)
    intercept = float(case.rng.normal())
    resident, streamed, reference = case.loaded(tier)

    found = engine(tier).binomial(resident, coefficients, intercept)()

    expected = REFERENCE.binomial(reference, coefficients, intercept)()
    both = np.stack([np.zeros_like(coefficients), coefficients])
    assert_is_a_loss(found, expected, case.partition, both, np.array([0.0, intercept]))
    assert_same(found, engine(tier).binomial(resident, coefficients, intercept)())
    assert_same(found, engine(tier).binomial(streamed, coefficients, intercept)())


@each_tier
@settings(max_examples=25)
@given(cases(most_sets=30), steepness)
def test_a_multinomial_loss_is_the_references_resident_or_streamed(tier: str, case: Case, scale: float) -> None:
    coefficients = case.rng.normal(0.0, scale, (case.sets, case.partition.features))
    intercepts = case.rng.normal(size=case.sets)
    resident, streamed, reference = case.loaded(tier)

    found = engine(tier).multinomial(resident, coefficients, intercepts)()

    expected = REFERENCE.multinomial(reference, coefficients, intercepts)()
    assert_is_a_loss(found, expected, case.partition, coefficients, intercepts)
    assert_same(found, engine(tier).multinomial(resident, coefficients, intercepts)())
    assert_same(found, engine(tier).multinomial(streamed, coefficients, intercepts)())


@each_tier
def test_a_gradient_of_many_float32_products_is_the_references_but_for_their_rounding(tier: str) -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(0.5, 1.0, (3000, 800)).astype(np.float32)
    data = as_partition(rng, x, 30, sparse=False, weighted=True)
    coefficients, intercepts = rng.normal(0.0, 0.03, (30, 800)), rng.normal(size=30)
    resident, streamed = engine(tier).load(data.as_rows(), True), engine(tier).load(data.as_rows(), False)

    found = engine(tier).multinomial(resident, coefficients, intercepts)()

    expected = REFERENCE.multinomial(REFERENCE.load(data.as_rows(), True), coefficients, intercepts)()
    assert_is_a_loss(found, expected, data, coefficients, intercepts, precision_of_products=SHORT_SUMS_PRECISION)
    assert_same(found, engine(tier).multinomial(streamed, coefficients, intercepts)())


@each_tier
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("step", [1e-9, 1e-8, 1e-7, 1e-5])
@pytest.mark.parametrize("multinomial", [False, True])
def test_a_small_step_changes_the_loss_as_the_gradient_says(
    tier: str, sparse: bool, step: float, multinomial: bool
) -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(0.5, 1.0, (3000, 21)).astype(np.float32)
    data = as_partition(rng, x, 4 if multinomial else 2, sparse, weighted=True)
    data.columns["weights"][:] = rng.random(3000)  # no float32 numbers
    at = rng.normal(size=(4 if multinomial else 1, 21))
    rows, reference = engine(tier).load(data.as_rows(), True), REFERENCE.load(data.as_rows(), True)

    def both(coefficients: Float64) -> tuple[LogisticSums, LogisticSums]:
        if multinomial:
            intercepts = np.arange(4.0)
            return (
                engine(tier).multinomial(rows, coefficients, intercepts)(),
                REFERENCE.multinomial(reference, coefficients, intercepts)(),
            )
        return engine(tier).binomial(rows, coefficients[0], 0.3)(), REFERENCE.binomial(
            reference, coefficients[0], 0.3
        )()

    before = both(at)
    direction = np.sign(before[1].gradient)
    after = both(at + step * direction)

    change, expected = (after[i].loss - before[i].loss for i in range(2))
    slope = float(((before[0].gradient + after[0].gradient) / 2 * direction).sum())
    allowed = CHANGE_PRECISION * float(data.weights @ sizes_of(data, at, np.arange(4.0)[: len(at)]))
    assert_close(change, expected, allowed)
    assert_close(change, step * slope, allowed)
    assert allowed < 1e-3 * expected


@each_tier
@pytest.mark.parametrize("precision", [np.float32, np.float64])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_margins_of_any_size_give_the_references_loss_and_gradient(
    tier: str, precision: type, sparse: bool, exponent: int
) -> None:
    rng = np.random.default_rng(3)
    x: Float64 = rng.choice([-2.0, 0.0, 1.0, 3.0], (64, 5)).astype(precision)
    data = as_partition(rng, x, 3, sparse, weighted=True)
    coefficients = 2.0**exponent * rng.choice([-1.0, 0.0, 1.0], (3, 5))
    rows, reference = engine(tier).load(data.as_rows(), True), REFERENCE.load(data.as_rows(), True)

    found = engine(tier).multinomial(rows, coefficients, np.zeros(3))()

    expected = REFERENCE.multinomial(reference, coefficients, np.zeros(3))()
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-12)
    np.testing.assert_allclose(found.gradient, expected.gradient, rtol=1e-12, atol=1e-12)


@each_tier
@pytest.mark.parametrize("precision", [np.float32, np.float64])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_binomial_margins_of_any_size_give_the_references_loss_and_gradient(
    tier: str, precision: type, sparse: bool, exponent: int
) -> None:
    rng = np.random.default_rng(4)
    x: Float64 = rng.choice([-2.0, 0.0, 1.0, 3.0], (64, 5)).astype(precision)
    data = as_partition(rng, x, 2, sparse, weighted=True)
    coefficients = 2.0**exponent * np.array([1.0, -1.0, 0.5, 0.0, 1.0])
    rows, reference = engine(tier).load(data.as_rows(), True), REFERENCE.load(data.as_rows(), True)

    found = engine(tier).binomial(rows, coefficients, 0.0)()

    expected = REFERENCE.binomial(reference, coefficients, 0.0)()
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-12)
    np.testing.assert_allclose(found.gradient, expected.gradient, rtol=1e-12, atol=1e-12)


@each_tier
def test_a_row_that_is_certain_of_its_label_keeps_the_digits_of_its_small_loss(tier: str) -> None:
    data = as_partition(np.random.default_rng(0), np.ones((7, 1), np.float32), 1, sparse=False, weighted=False)
    data.columns["labels"][:] = 1
    rows = engine(tier).load(data.as_rows(), True)

    found = engine(tier).binomial(rows, np.array([30.0]), 0.0)()

    np.testing.assert_allclose(found.loss, 7 * np.exp(-30.0), rtol=1e-12)
    of_weights = 1e-15 * 7 if tier == "fpga" else 0.0  # its gradient is one in fixed point
    np.testing.assert_allclose(found.gradient, [[-7 * np.exp(-30.0)]], rtol=1e-12, atol=of_weights)


@each_tier
@pytest.mark.parametrize("resident", [True, False])
def test_labels_that_are_no_class_are_refused_before_a_kernel_reads_them(tier: str, resident: bool) -> None:
    data = as_partition(np.random.default_rng(0), np.ones((9, 3), np.float32), 3, sparse=False, weighted=False)
    data.columns["labels"][4] = 3
    rows = engine(tier).load(data.as_rows(), resident)

    with pytest.raises(DataError, match=r"'labels' has values from 0 to 3, expected 0 to 2"):
        engine(tier).multinomial(rows, np.zeros((3, 3)), np.zeros(3))()
    with pytest.raises(DataError, match=r"expected 0 to 1"):
        engine(tier).binomial(rows, np.zeros(3), 0.0)()


@each_tier
@pytest.mark.parametrize("sparse", [False, True])
def test_a_margin_that_is_no_number_makes_the_loss_none(tier: str, sparse: bool) -> None:
    data = as_partition(np.random.default_rng(0), np.ones((4, 3), np.float32), 3, sparse=sparse, weighted=False)
    data.columns["labels"][:] = 1
    coefficients = np.ones((3, 3))
    coefficients[0, 1] = np.nan

    found = engine(tier).multinomial(engine(tier).load(data.as_rows(), True), coefficients, np.zeros(3))()

    assert np.isnan(found.loss)
