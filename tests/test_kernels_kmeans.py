"""The k-means kernels on a real OpenCL device, tier by tier, against the numpy reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from kernel_bounds import assert_is_a_step, without_near_ties
from kernel_cases import REFERENCE, Case, as_partition, assert_close, assert_same, cases, engine, tiers
from scipy.spatial.distance import cdist

each_tier = pytest.mark.parametrize("tier", tiers("kmeans"))


@each_tier
@settings(max_examples=25)
@given(cases(most_sets=40))
def test_a_step_of_lloyd_is_the_references_resident_or_streamed(tier: str, case: Case) -> None:
    case, centres = without_near_ties(case)
    resident, streamed, expected = case.loaded(tier)

    found = engine(tier).lloyd(resident, centres)()

    assert_is_a_step(found, case.partition, centres, case.precision)
    np.testing.assert_allclose(found.weight_sums, REFERENCE.lloyd(expected, centres)().weight_sums, rtol=1e-6)
    assert_same(found, engine(tier).lloyd(resident, centres)())
    assert_same(found, engine(tier).lloyd(streamed, centres)())


@each_tier
@settings(max_examples=25)
@given(cases(most_sets=40))
def test_costs_are_the_references_resident_or_streamed(tier: str, case: Case) -> None:
    case, centres = without_near_ties(case)
    resident, streamed, reference = case.loaded(tier)

    found = engine(tier).costs(resident, centres)()

    norms = (centres**2).sum(axis=1).max()
    expected = REFERENCE.costs(reference, centres)()
    np.testing.assert_array_equal(found.nearest, expected.nearest)
    assert_close(found.costs, expected.costs, case.precision * expected.costs + 1e-12 * norms)
    assert_same(found, engine(tier).costs(streamed, centres)())


@each_tier
@pytest.mark.parametrize("precision", [np.float32, np.float64])
@pytest.mark.parametrize("sparse", [False, True])
def test_of_centres_at_the_same_distance_the_first_is_taken(tier: str, precision: type, sparse: bool) -> None:
    x = np.array([[0.0, 2.0], [0.0, 0.0], [4.0, 1.0]], precision)
    centres = np.array([[4.0, 0.0], [0.0, 1.0], [0.0, 1.0], *[[9.0, 9.0]] * 37, [0.0, 1.0], [4.0, 2.0]])
    data = as_partition(np.random.default_rng(0), x, 1, sparse, weighted=False)

    loaded = engine(tier).load(data.as_rows(), True)
    found = engine(tier).lloyd(loaded, centres)()

    assert found.weight_sums[:3].tolist() == [1.0, 2.0, 0.0]
    assert found.cost == 3.0
    assert engine(tier).costs(loaded, centres)().nearest.tolist() == [1, 1, 0]


@each_tier
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("scale", [1e-20, 1e17, 1e25])
def test_scores_beyond_float32_find_the_nearest_centre(tier: str, sparse: bool, scale: float) -> None:
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(5, 20)) * scale
    x = (centres[rng.integers(0, 5, 100)] + 0.1 * scale * rng.normal(size=(100, 20))).astype(np.float32)
    data = as_partition(rng, x, 1, sparse, weighted=True)

    found = engine(tier).lloyd(engine(tier).load(data.as_rows(), True), centres)()

    assert_is_a_step(found, data, centres, 1e-6)


@each_tier
@pytest.mark.parametrize("precision", [np.float32, np.float64])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(("large", "apart"), [(1e5, 12.0), (1e7, 100.0), (1e3, 1e-2)])
def test_columns_of_other_scales_do_not_hide_which_centre_is_nearest(
    tier: str, precision: type, sparse: bool, large: float, apart: float
) -> None:
    rng = np.random.default_rng(4)
    centres = np.array([[a * large, b * apart, 0.0] for a in (-1, 0, 1) for b in (0, 1)])
    nearest = rng.integers(0, 6, 400)
    x = (centres[nearest] + rng.normal(0, 0.1, (400, 3)) * [apart, apart, 0.0]).astype(precision)
    data = as_partition(rng, x, 1, sparse, weighted=False)

    loaded = engine(tier).load(data.as_rows(), True)

    assert_is_a_step(engine(tier).lloyd(loaded, centres)(), data, centres, 1e-6)
    np.testing.assert_array_equal(engine(tier).costs(loaded, centres)().nearest, nearest)


@each_tier
def test_float64_rows_far_from_zero_find_the_nearest_centre(tier: str) -> None:
    rng = np.random.default_rng(5)
    centres = 1.7e12 + np.arange(3.0)[:, None]
    nearest = rng.integers(0, 3, 200)
    data = as_partition(rng, centres[nearest] + rng.normal(0, 0.05, (200, 1)), 1, sparse=False, weighted=False)

    loaded = engine(tier).load(data.as_rows(), True)

    assert engine(tier).lloyd(loaded, centres)().weight_sums.tolist() == np.bincount(nearest).tolist()
    np.testing.assert_array_equal(engine(tier).costs(loaded, centres)().nearest, nearest)


@each_tier
def test_a_cost_loses_nothing_where_rows_are_far_from_zero_and_near_their_centres(tier: str) -> None:
    rng = np.random.default_rng(2)
    centres = np.array([[1000.0] * 8, [-1000.0] * 8])
    x = (centres[rng.integers(0, 2, 300)] + 0.01 * rng.normal(size=(300, 8))).astype(np.float32)
    data = as_partition(rng, x, 1, sparse=False, weighted=False)

    found = engine(tier).lloyd(engine(tier).load(data.as_rows(), True), centres)()

    np.testing.assert_allclose(found.cost, cdist(data.x, centres, "sqeuclidean").min(axis=1).sum(), rtol=1e-12)


@each_tier
def test_rows_without_weight_count_nothing_whatever_they_hold(tier: str) -> None:
    x = np.array([[1.0, 2.0], [np.inf, np.nan]], np.float32)
    data = as_partition(np.random.default_rng(0), x, 1, sparse=False, weighted=True)
    data.columns["weights"][:] = 2.0, 0.0

    found = engine(tier).lloyd(engine(tier).load(data.as_rows(), True), np.zeros((1, 2)))()

    assert found.sums.tolist() == [[2.0, 4.0]]
    assert (found.weight_sums.tolist(), found.cost) == ([2.0], 10.0)


@each_tier
@pytest.mark.parametrize("sparse", [False, True])
def test_a_centre_that_is_no_number_makes_the_cost_none(tier: str, sparse: bool) -> None:
    x = np.zeros((4, 3), np.float32)
    x[:, 0] = 1
    data = as_partition(np.random.default_rng(0), x, 1, sparse=sparse, weighted=False)

    found = engine(tier).lloyd(engine(tier).load(data.as_rows(), True), np.array([[1.0, np.nan, 0.0]]))()

    assert np.isnan(found.cost)
