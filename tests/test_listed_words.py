"""Words of which products are added two by two in 16 bits: the same sums, no pair that does not fit, few more words."""

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_accel.daemon import kernels
from spark_accel.daemon.listed_words import ListedWords, listed_words
from spark_accel.networks import channel_order

Int8 = npt.NDArray[np.int8]
MOST = 128
panels = st.builds(
    lambda shape, largest, seed: np.random.default_rng(seed).integers(-largest, largest, shape, np.int8),
    st.tuples(st.integers(1, 4), st.integers(1, 16), st.integers(1, 3), st.integers(1, 40)),
    st.sampled_from([1, 60, 70, 90, 128]),
    st.integers(0, 2**32 - 1),
)


def _of_panel(words: ListedWords, number: int) -> tuple[npt.NDArray[np.int32], Int8]:
    part = slice(words.starts[number], words.starts[number + 1])
    return words.offsets[part], words.weights[part]


@settings(max_examples=200, deadline=None)
@given(panels)
def test_words_have_each_weight_once_where_its_input_is(weights: Int8) -> None:
    _, size, rows, terms = weights.shape
    row_bytes = terms + 5

    words = listed_words(weights, row_bytes, MOST)

    assert words.starts[0] == 0
    assert words.starts[-1] == len(words.offsets) == len(words.weights)
    for number, panel in enumerate(weights):
        found = np.zeros((size, rows * row_bytes + 4), np.int64)
        for offset, word in zip(*_of_panel(words, number), strict=True):
            assert offset >= 0
            assert not (found[:, offset : offset + 4].astype(bool) & word.astype(bool)).any()
            found[:, offset : offset + 4] += word
        expected = np.zeros_like(found)
        for y in range(rows):
            expected[:, y * row_bytes : y * row_bytes + terms] = panel[:, y]
        np.testing.assert_array_equal(found, expected)


@settings(max_examples=200, deadline=None)
@given(panels)
def test_no_two_products_that_are_added_leave_16_bits(weights: Int8) -> None:
    pairs = listed_words(weights, weights.shape[3], MOST).weights.astype(np.int64).reshape(-1, 2) * 255

    assert np.maximum(pairs, 0).sum(axis=1).max() < 2**15
    assert np.minimum(pairs, 0).sum(axis=1).min() >= -(2**15)


@given(st.integers(1, 100), st.integers(1, 3))
def test_where_all_pairs_fit_words_are_full(terms: int, rows: int) -> None:
    words = listed_words(np.full((2, 16, rows, terms), 64, np.int8), terms, MOST)

    assert len(words.offsets) == 2 * rows * -(-terms // 4)


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_a_pair_that_does_not_fit_costs_a_quarter_of_a_word(large: list[bool]) -> None:
    row = np.where([False, *large], 100, 1)  # at its start it costs more
    misfits = np.count_nonzero(row[:-1] + row[1:] > MOST)

    words = listed_words(row.astype(np.int8).reshape(1, 1, 1, -1), len(row), MOST)

    assert len(words.offsets) <= -(-(len(row) + misfits) // 4)


def test_channels_are_ordered_for_the_pairs_that_kernels_take() -> None:
    tiers = [tier.defines for tier in kernels.tiers(kernels.folder() / "network") if "PAIRS" in tier.defines]

    assert {tier["PAIRS"] for tier in tiers} == {channel_order.MOST}
    assert {tier["LANES"] * tier["VECTORS"] for tier in tiers} == {channel_order.PANEL}
