"""The estimators' stages for FPGAs on the emulator: the reference's sums, whatever the order of the rows."""

from concurrent.futures import ProcessPoolExecutor

import emulated_estimators
import numpy as np
import pytest
from emulated_estimators import Asked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_bounds import (
    CHANGE_PRECISION,
    assert_are_class_sums,
    assert_is_a_loss,
    assert_is_a_step,
    sizes_of,
    without_near_ties,
)
from kernel_cases import Case, Float64, as_partition, assert_close, assert_same
from partitions import Partition, pack
from scipy.spatial.distance import cdist
from stage_answers import answer, each_shape, expected, on_stages, run, shape_of

from spark_accel.fpga import estimator_trips

few = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
PRECISION = 1e-6  # of sums of float32 rows, as of other tiers


@st.composite
def dense_cases(draw: st.DrawFn, most_sets: int, least_sets: int = 1) -> Case:
    """Dense float32 rows, one or many, more sets than LANES, some of no weight."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = draw(st.one_of(st.integers(1, 40), st.integers(500, 1100), st.just(4096)))
    features = draw(st.one_of(st.integers(1, 40), st.sampled_from([15, 16, 17, 32, 33, 70])))
    sets = draw(st.integers(least_sets, most_sets))
    x = rng.normal(0.5, 1.0, (rows, features)).astype(np.float32)
    return Case(as_partition(rng, x, sets, sparse=False, weighted=draw(st.booleans())), sets, rng)


@each_shape
@few
@given(case=dense_cases(most_sets=40))
def test_a_step_of_lloyd_is_the_references(emulator: ProcessPoolExecutor, defines: dict[str, int], case: Case) -> None:
    case, centres = without_near_ties(case)

    found = on_stages(emulator, case.partition, "lloyd", centres, defines=defines)

    assert_is_a_step(found, case.partition, centres, PRECISION)


@each_shape
@few
@given(case=dense_cases(most_sets=40))
def test_costs_are_the_references(emulator: ProcessPoolExecutor, defines: dict[str, int], case: Case) -> None:
    case, centres = without_near_ties(case)

    found = on_stages(emulator, case.partition, "costs", centres, defines=defines)

    reference = expected(case.partition, "costs", centres)
    np.testing.assert_array_equal(found.nearest, reference.nearest)
    np.testing.assert_allclose(found.costs, reference.costs, rtol=1e-12)


def test_of_centres_at_the_same_distance_the_first_is_taken(emulator: ProcessPoolExecutor) -> None:
    x = np.array([[0.0, 2.0], [0.0, 0.0], [4.0, 1.0]], np.float32)
    centres = np.array([[4.0, 0.0], [0.0, 1.0], [0.0, 1.0], *[[9.0, 9.0]] * 37, [0.0, 1.0], [4.0, 2.0]])
    data = as_partition(np.random.default_rng(0), x, 1, sparse=False, weighted=False)

    assert on_stages(emulator, data, "costs", centres).nearest.tolist() == [1, 1, 0]
    assert on_stages(emulator, data, "lloyd", centres).weight_sums[:3].tolist() == [1.0, 2.0, 0.0]


@pytest.mark.parametrize(("large", "apart"), [(1e5, 12.0), (1e7, 100.0), (1e3, 1e-2)])
def test_columns_of_other_scales_do_not_hide_which_centre_is_nearest(
    emulator: ProcessPoolExecutor, large: float, apart: float
) -> None:
    rng = np.random.default_rng(4)
    centres = np.array([[a * large, b * apart, 0.0] for a in (-1, 0, 1) for b in (0, 1)])
    nearest = rng.integers(0, 6, 400)
    x = (centres[nearest] + rng.normal(0, 0.1, (400, 3)) * [apart, apart, 0.0]).astype(np.float32)
    data = as_partition(rng, x, 1, sparse=False, weighted=False)

    found, trips = run(emulator, data, "lloyd", centres)

    assert_is_a_step(found, data, centres, PRECISION)
    certain = estimator_trips.kmeans(shape_of("kmeans", {}), 400, 16, 6)
    assert trips["distances"] == certain["distances"], "no row had to be compared with all centres again"


@pytest.mark.parametrize("scale", [1e-20, 1e17, 1e25])
def test_distances_beyond_float32_find_the_nearest_centre(emulator: ProcessPoolExecutor, scale: float) -> None:
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(5, 20)) * scale
    x = (centres[rng.integers(0, 5, 100)] + 0.1 * scale * rng.normal(size=(100, 20))).astype(np.float32)
    data = as_partition(rng, x, 1, sparse=False, weighted=True)

    assert_is_a_step(on_stages(emulator, data, "lloyd", centres), data, centres, PRECISION)


def test_squares_that_a_board_takes_for_zero_decide_nothing(emulator: ProcessPoolExecutor) -> None:
    # To the first centre all squares are subnormal, which boards have not; the second one is nearer.
    centres = np.stack([np.full(2048, 2.0**-63.2), np.zeros(2048)])
    centres[1, 0] = 2.0**-58.4
    x = np.zeros((2, 2048), np.float32)
    x[1] = 1.0
    data = as_partition(np.random.default_rng(0), x, 1, sparse=False, weighted=False)

    found, trips = run(emulator, data, "costs", centres)

    assert found.nearest[0] == 1
    either = estimator_trips.kmeans(shape_of("kmeans", {}), 2, 2048, 2, uncertain=2)
    assert trips["distances"] == either["distances"]


def test_a_cost_loses_nothing_where_rows_are_far_from_zero_and_near_their_centres(
    emulator: ProcessPoolExecutor,
) -> None:
    rng = np.random.default_rng(2)
    centres = np.array([[1000.0] * 8, [-1000.0] * 8])
    x = (centres[rng.integers(0, 2, 300)] + 0.01 * rng.normal(size=(300, 8))).astype(np.float32)
    data = as_partition(rng, x, 1, sparse=False, weighted=False)

    found = on_stages(emulator, data, "lloyd", centres)

    np.testing.assert_allclose(found.cost, cdist(data.x, centres, "sqeuclidean").min(axis=1).sum(), rtol=1e-12)


@each_shape
@few
@given(case=dense_cases(most_sets=2), scale=st.sampled_from([0.1, 1.0, 30.0]))
def test_a_binomial_loss_is_the_references(
    emulator: ProcessPoolExecutor, defines: dict[str, int], case: Case, scale: float
) -> None:
    coefficients = case.rng.normal(0.0, scale, case.partition.features)
    intercept = float(case.rng.normal())

    found = on_stages(emulator, case.partition, "binomial", coefficients, intercept, defines=defines)

    reference = expected(case.partition, "binomial", coefficients, intercept)
    both = np.stack([np.zeros_like(coefficients), coefficients])
    assert_is_a_loss(found, reference, case.partition, both, np.array([0.0, intercept]))


@each_shape
@few
@given(case=dense_cases(most_sets=30), scale=st.sampled_from([0.1, 1.0, 30.0]))
def test_a_multinomial_loss_is_the_references(
    emulator: ProcessPoolExecutor, defines: dict[str, int], case: Case, scale: float
) -> None:
    coefficients = case.rng.normal(0.0, scale, (case.sets, case.partition.features))
    intercepts = case.rng.normal(size=case.sets)

    found = on_stages(emulator, case.partition, "multinomial", coefficients, intercepts, defines=defines)

    reference = expected(case.partition, "multinomial", coefficients, intercepts)
    assert_is_a_loss(found, reference, case.partition, coefficients, intercepts)


@pytest.mark.parametrize("step", [1e-9, 1e-7, 1e-5])
def test_a_small_step_changes_the_loss_as_the_gradient_says(emulator: ProcessPoolExecutor, step: float) -> None:
    rng = np.random.default_rng(6)
    data = as_partition(rng, rng.normal(0.5, 1.0, (3000, 21)).astype(np.float32), 4, sparse=False, weighted=True)
    data.columns["weights"][:] = rng.random(3000)  # no float32 numbers
    at, intercepts = rng.normal(size=(4, 21)), np.arange(4.0)
    direction = np.sign(expected(data, "multinomial", at, intercepts).gradient)

    before, after = (
        on_stages(emulator, data, "multinomial", matrix, intercepts) for matrix in (at, at + step * direction)
    )

    slope = float(((before.gradient + after.gradient) / 2 * direction).sum())
    allowed = CHANGE_PRECISION * float(data.weights @ sizes_of(data, at, intercepts))
    assert_close(after.loss - before.loss, step * slope, allowed)
    assert allowed < 1e-3 * step * slope


@pytest.mark.parametrize("exponent", [10, 66, 126, 127, 900])
def test_margins_of_any_size_give_the_references_loss_and_gradient(
    emulator: ProcessPoolExecutor, exponent: int
) -> None:
    rng = np.random.default_rng(3)
    x: Float64 = rng.choice([-2.0, 0.0, 1.0, 3.0], (64, 5)).astype(np.float32)
    data = as_partition(rng, x, 3, sparse=False, weighted=True)
    coefficients = 2.0**exponent * rng.choice([-1.0, 0.0, 1.0], (3, 5))

    found = on_stages(emulator, data, "multinomial", coefficients, np.zeros(3))

    reference = expected(data, "multinomial", coefficients, np.zeros(3))
    np.testing.assert_allclose(found.loss, reference.loss, rtol=1e-12)
    np.testing.assert_allclose(found.gradient, reference.gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("exponent", [-95, -30, 0, 500])
def test_weights_of_any_size_give_the_references_loss(emulator: ProcessPoolExecutor, exponent: int) -> None:
    rng = np.random.default_rng(7)
    data = as_partition(rng, rng.normal(size=(1000, 5)).astype(np.float32), 3, sparse=False, weighted=True)
    data.columns["weights"][:] = 2.0**exponent * rng.random(1000)
    matrix = rng.normal(size=(3, 5))

    found = on_stages(emulator, data, "multinomial", matrix, np.zeros(3))

    np.testing.assert_allclose(found.loss, expected(data, "multinomial", matrix, np.zeros(3)).loss, rtol=1e-12)


def test_a_row_that_is_certain_of_its_label_keeps_the_digits_of_its_small_loss(emulator: ProcessPoolExecutor) -> None:
    data = as_partition(np.random.default_rng(0), np.ones((7, 1), np.float32), 1, sparse=False, weighted=False)
    data.columns["labels"][:] = 1

    found = on_stages(emulator, data, "binomial", np.array([30.0]), 0.0)

    np.testing.assert_allclose(found.loss, 7 * np.exp(-30.0), rtol=1e-12)
    np.testing.assert_allclose(found.gradient, [[-7 * np.exp(-30.0)]], atol=7e-15)  # of the weights: 64 bits


@each_shape
@few
@given(case=dense_cases(most_sets=30), squares=st.booleans())
def test_sums_by_class_are_the_references(
    emulator: ProcessPoolExecutor, defines: dict[str, int], case: Case, squares: bool
) -> None:
    # Where a value's square is tiny beside the others' the portable kernels answer.
    ask = on_stages if not squares else answer
    found = ask(emulator, case.partition, "class_sums", case.sets, squares, defines=defines)

    reference = expected(case.partition, "class_sums", case.sets, squares)
    assert_are_class_sums(found, reference, case.partition, PRECISION)


def test_a_row_after_the_other_or_not_gives_the_same_bits(emulator: ProcessPoolExecutor) -> None:
    rng = np.random.default_rng(8)
    x = (rng.normal(size=(3000, 37)) * 10.0 ** rng.integers(-3, 4, 37)).astype(np.float32)
    data = as_partition(rng, x, 5, sparse=False, weighted=True)
    data.columns["weights"][:] = rng.random(3000)
    order = rng.permutation(3000)
    labels, weights = data.columns["labels"][order], data.columns["weights"][order]
    other = Partition(data.x[order], {**pack(x[order]), "labels": labels, "weights": weights})
    matrix = rng.normal(size=(5, 37))

    for method, arguments in [
        ("lloyd", (x[:5].astype(np.float64),)),
        ("multinomial", (matrix / 1e4, matrix[:, 0])),
        ("class_sums", (5, True)),
    ]:
        assert_same(*(on_stages(emulator, one, method, *arguments) for one in (data, other)))


@pytest.mark.parametrize("method", ["lloyd", "costs", "multinomial", "class_sums"])
def test_rows_that_are_streamed_in_chunks_give_the_same_bits(emulator: ProcessPoolExecutor, method: str) -> None:
    rng = np.random.default_rng(9)
    data = as_partition(rng, rng.normal(size=(9001, 20)).astype(np.float32), 3, sparse=False, weighted=True)
    matrix = rng.normal(size=(3, 20))
    arguments = {"multinomial": (matrix, np.zeros(3)), "class_sums": (3, True)}.get(method, (matrix,))

    resident = on_stages(emulator, data, method, *arguments)
    streamed = on_stages(emulator, data, method, *arguments, resident=False, streamed_bytes=300_000)

    assert_same(streamed, resident)


def test_several_calls_are_under_way_at_once(emulator: ProcessPoolExecutor) -> None:
    rng = np.random.default_rng(10)
    data = as_partition(rng, rng.normal(size=(2000, 20)).astype(np.float32), 2, sparse=False, weighted=True)
    steps = [Asked("lloyd", (rng.normal(size=(4, 20)),), {}), Asked("binomial", (rng.normal(size=20), 0.5), {})]

    for calls in (steps, steps[::-1], [steps[0], steps[0]]):
        found = emulator.submit(emulated_estimators.both, data, *calls).result()

        for one, call in zip(found, calls, strict=True):
            assert_same(one, on_stages(emulator, data, call.method, *call.arguments))
