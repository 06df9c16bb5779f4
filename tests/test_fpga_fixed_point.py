"""Sums in fixed point: how exact they are, and for which numbers that can't be had."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from partitions import Array, Partition, pack

from spark_accel.estimators.rows import Rows
from spark_accel.fpga import fixed_point

seeds = st.integers(0, 2**32 - 1)


def rows_of(x: Array, weights: Array | None = None) -> Rows:
    columns = pack(x.astype(np.float32))
    if weights is not None:
        columns["weights"] = np.asarray(weights, np.float64)
    return Partition(x.astype(np.float64), columns).as_rows()


@given(seeds, st.integers(1, 3000), st.floats(-20.0, 20.0))
def test_a_sum_of_any_rows_lacks_a_part_in_2_to_the_61_of_its_columns_total_a_row_at_most(
    seed: int, rows: int, exponent: float
) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(rows, 3)) * 10.0**exponent).astype(np.float32)
    weights = rng.random(rows)
    ranges = fixed_point.ranges(rows_of(x, weights))
    assert ranges is not None
    scale = fixed_point.scale(ranges.totals)[:3]
    taken = rng.random(rows) < rng.random()

    fixed = np.rint(x * weights[:, None] * scale).astype(np.int64)[taken].sum(axis=0)

    exact = (x.astype(np.longdouble) * weights[:, None])[taken].sum(axis=0)
    bound = (taken.sum() + 1) * 2.0**-61 * ranges.totals[:3] + 1e-15 * ranges.totals[:3]
    assert (np.abs(fixed / scale - exact) <= bound).all()
    assert (np.abs(x * weights[:, None]).sum(axis=0) * scale < 2.0**61).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_has_no_fixed_point(value: float) -> None:
    x = np.ones((4, 2))
    x[2, 1] = value

    assert fixed_point.ranges(rows_of(x)) is None
    assert fixed_point.ranges(rows_of(x, np.array([1.0, 1.0, 0.0, 1.0]))) is None  # its product with 0 is none, either


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf, 1e300, 1e-300])
def test_weights_below_zero_or_beyond_all_scales_have_none(weight: float) -> None:
    assert fixed_point.ranges(rows_of(np.ones((2, 1)), np.array([0.0, weight]))) is None


def test_columns_of_subnormal_numbers_have_none_since_boards_have_no_such_numbers() -> None:
    assert fixed_point.ranges(rows_of(np.full((3, 1), 1e-40))) is None


def test_sparse_and_float64_rows_have_none() -> None:
    rows = rows_of(np.ones((3, 16)))
    double = Partition(np.ones((3, 16)), pack(np.ones((3, 16)))).as_rows()
    sparse = Partition(np.ones((3, 16)), pack(np.ones((3, 16), np.float32), sparse=True)).as_rows()

    assert fixed_point.ranges(rows) is not None
    assert fixed_point.ranges(double) is None
    assert fixed_point.ranges(sparse) is None


def test_a_number_that_hides_its_column_makes_sums_inexact_but_not_a_few_small_numbers() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 2))
    hidden, small = x.copy(), x.copy()
    hidden[7, 1] = 1e30
    small[7, 1] = 1e-30

    for one, exact in [(x, True), (hidden, False), (small, True)]:
        ranges = fixed_point.ranges(rows_of(one))
        assert ranges is not None
        assert (ranges.exact, ranges.squares_exact) == (exact, exact)


def test_squares_may_be_hidden_where_their_numbers_are_not() -> None:
    x = np.ones((3000, 1))
    x[0] = 1e9
    ranges = fixed_point.ranges(rows_of(x))

    assert ranges is not None
    assert (ranges.exact, ranges.squares_exact) == (True, False)


def test_weights_that_hide_others_make_all_sums_inexact() -> None:
    weights = np.ones(3000)
    weights[0] = 1e20
    ranges = fixed_point.ranges(rows_of(np.ones((3000, 1)), weights))

    assert ranges is not None
    assert not ranges.exact
    assert not ranges.squares_exact


def test_chunks_and_copies_are_added_up_exactly() -> None:
    parts = [np.arange(24, dtype=np.int64) + (1 << 50), np.full(24, -(1 << 50), np.int64)]

    found = fixed_point.added_up(parts, 2, 3)

    assert found.tolist() == np.arange(24).reshape(2, 3, 4).sum(axis=0).tolist()


@given(st.lists(st.integers(0, 2**120), min_size=1, max_size=3), st.integers(-500, 500))
def test_integers_of_128_bits_are_added_up(parts: list[int], exponent: int) -> None:
    halves = [np.array([part & (2**64 - 1), part >> 64], np.uint64) for part in parts]

    assert fixed_point.wide_total(halves, exponent) == np.ldexp(float(sum(parts)), -exponent)


def test_the_exponent_leaves_room_for_all_that_may_come() -> None:
    for total in (1e-200, 0.1, 1.0, 3.5, 2.0**400):
        assert 2.0**124 <= total * 2.0 ** fixed_point.wide_exponent(total) < 2.0**125
    assert fixed_point.wide_exponent(0.0) == 0
    assert np.isfinite(2.0 ** fixed_point.wide_exponent(5e-324))
