"""The numpy reference of the estimators' kernels against scikit-learn, scipy's formulas and finite differences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from partitions import Partition, pack, partition
from scipy import optimize, special
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.naive_bayes import GaussianNB, MultinomialNB

from spark_accel.estimators.reference import ReferenceData, ReferenceEngine
from spark_accel.estimators.rows import DataError

ENGINE = ReferenceEngine()
CLASSES = 3


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def loaded(given: Partition, resident: bool = True) -> ReferenceData:
    return ENGINE.load(given.as_rows(), resident)


@st.composite
def partitions(draw: st.DrawFn, classes: int = CLASSES) -> Partition:
    return partition(
        np.random.default_rng(draw(st.integers(0, 2**32))),
        draw(st.integers(1, 60)),
        draw(st.integers(1, 40)),
        sparse=draw(st.booleans()),
        precision=draw(st.sampled_from([np.float32, np.float64])),
        weighted=draw(st.booleans()),
        classes=classes,
    )


def test_a_step_of_lloyd_is_a_step_of_scikit_learn(rng: np.random.Generator) -> None:
    data = partition(rng, 200, 4)
    centres = data.x[:3] + 0.1

    found = ENGINE.lloyd(loaded(data), centres)()

    theirs = KMeans(3, init=centres, n_init=1, max_iter=1, tol=0).fit(data.x, sample_weight=data.weights)
    np.testing.assert_allclose(found.sums / found.weight_sums[:, None], theirs.cluster_centers_)


@given(partitions(), st.integers(1, 5))
def test_costs_are_squared_distances_to_the_nearest_centre(data: Partition, k: int) -> None:
    centres = np.random.default_rng(k).normal(1, 1, (k, data.features))
    squared = cdist(data.x, centres, "sqeuclidean")

    nearest = ENGINE.costs(loaded(data), centres)()
    found = ENGINE.lloyd(loaded(data), centres)()

    np.testing.assert_allclose(nearest.costs, squared.min(axis=1))
    np.testing.assert_allclose(squared[np.arange(data.rows), nearest.nearest], nearest.costs)
    np.testing.assert_allclose(found.cost, data.weights @ squared.min(axis=1))
    np.testing.assert_allclose(found.weight_sums.sum(), data.weights.sum())
    np.testing.assert_allclose(found.sums.sum(axis=0), data.weights @ data.x, atol=1e-12)


def test_a_row_between_two_centres_goes_to_the_first() -> None:
    x = np.zeros((1, 2))
    centres = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])

    assert ENGINE.lloyd(loaded(Partition(x, pack(x))), centres)().weight_sums.tolist() == [1.0, 0.0, 0.0]


@given(partitions(classes=2), st.integers(0, 1000))
def test_the_binomial_loss_is_the_log_loss_and_the_gradient_its_derivative(data: Partition, seed: int) -> None:
    at = np.random.default_rng(seed).normal(0, 0.3, data.features + 1)

    def loss(parameters: np.ndarray) -> float:
        probability = special.expit(data.x @ parameters[:-1] + parameters[-1])
        return log_loss(data.labels, probability, normalize=False, sample_weight=data.weights, labels=[0, 1])

    found = ENGINE.binomial(loaded(data), at[:-1], at[-1])()

    np.testing.assert_allclose(found.loss, loss(at), rtol=1e-9, atol=1e-9)
    gradient = np.append(found.gradient, found.multiplier_sums)
    np.testing.assert_allclose(gradient, optimize.approx_fprime(at, loss, 1e-6), atol=1e-3)


@given(partitions(), st.integers(0, 1000))
def test_the_multinomial_loss_is_the_log_loss_and_the_gradient_its_derivative(data: Partition, seed: int) -> None:
    at = np.random.default_rng(seed).normal(0, 0.3, (CLASSES, data.features + 1))

    def loss(flat: np.ndarray) -> float:
        parameters = flat.reshape(at.shape)
        probability = special.softmax(data.x @ parameters[:, :-1].T + parameters[:, -1], axis=1)
        labels = range(CLASSES)
        return log_loss(data.labels, probability, normalize=False, sample_weight=data.weights, labels=labels)

    found = ENGINE.multinomial(loaded(data), at[:, :-1], at[:, -1])()

    np.testing.assert_allclose(found.loss, loss(at.reshape(-1)), rtol=1e-9, atol=1e-9)
    gradient = np.column_stack([found.gradient, found.multiplier_sums])
    derivative = optimize.approx_fprime(at.reshape(-1), loss, 1e-6).reshape(at.shape)
    np.testing.assert_allclose(gradient, derivative, atol=1e-3)


def test_where_the_gradient_vanishes_scikit_learn_has_its_coefficients(rng: np.random.Generator) -> None:
    data = partition(rng, 300, 4, precision=np.float64, classes=2)
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(data.x, data.labels, data.weights)

    found = ENGINE.binomial(loaded(data), theirs.coef_[0], theirs.intercept_[0])()

    np.testing.assert_allclose(np.append(found.gradient, found.multiplier_sums), 0, atol=1e-4)


@given(partitions(classes=2), st.integers(0, 1000))
def test_two_classes_are_a_binomial_regression(data: Partition, seed: int) -> None:
    coefficients = np.random.default_rng(seed).normal(0, 1, (2, data.features))
    intercepts = np.array([0.25, -0.5])

    both = ENGINE.multinomial(loaded(data), coefficients, intercepts)()
    one = ENGINE.binomial(loaded(data), coefficients[1] - coefficients[0], -0.75)()

    np.testing.assert_allclose(both.loss, one.loss, atol=1e-9)
    np.testing.assert_allclose(both.gradient[1], one.gradient[0], atol=1e-9)
    np.testing.assert_allclose(both.multiplier_sums, [-one.multiplier_sums[0], one.multiplier_sums[0]], atol=1e-9)


@pytest.mark.parametrize("margin", [1e3, 1e6, 1e300])
def test_large_margins_neither_overflow_nor_lose_the_loss(margin: float) -> None:
    x = np.array([[1.0], [-1.0]])
    data = loaded(Partition(x, pack(x) | {"labels": np.array([0, 1], np.int32)}))

    binomial = ENGINE.binomial(data, np.array([margin]), 0.0)()
    multinomial = ENGINE.multinomial(data, np.array([[0.0], [margin]]), np.zeros(2))()

    assert (binomial.loss, multinomial.loss) == (2 * margin, 2 * margin)
    assert (binomial.gradient.item(), multinomial.gradient[1].item()) == (2.0, 2.0)


@pytest.mark.parametrize("sparse", [False, True])
def test_class_sums_are_the_counts_and_moments_of_scikit_learn(rng: np.random.Generator, sparse: bool) -> None:
    data = partition(rng, 100, 6, sparse=sparse, precision=np.float64)
    data = Partition(np.abs(data.x), data.columns | pack(np.abs(data.x), sparse))

    found = ENGINE.class_sums(loaded(data), CLASSES, squares=True)()

    counts = MultinomialNB().fit(data.x, data.labels, data.weights)
    np.testing.assert_allclose(found.weight_sums, counts.class_count_)
    np.testing.assert_allclose(found.sums, counts.feature_count_)
    moments = GaussianNB(var_smoothing=0).fit(data.x, data.labels, data.weights)
    mean = found.sums / found.weight_sums[:, None]
    np.testing.assert_allclose(found.square_sums / found.weight_sums[:, None] - mean**2, moments.var_)
    assert ENGINE.class_sums(loaded(data), CLASSES, squares=False)().square_sums is None


@given(partitions())
def test_streamed_data_gives_the_bits_of_resident_data(data: Partition) -> None:
    kept, streamed = loaded(data), loaded(data, resident=False)
    coefficients = np.linspace(-1, 1, CLASSES * data.features).reshape(CLASSES, -1)

    for call in (
        lambda one: ENGINE.lloyd(one, coefficients)().sums,
        lambda one: ENGINE.costs(one, coefficients)().costs,
        lambda one: ENGINE.multinomial(one, coefficients, np.zeros(CLASSES))().gradient,
        lambda one: ENGINE.class_sums(one, CLASSES, squares=True)().square_sums,
    ):
        np.testing.assert_array_equal(call(kept), call(streamed))
    assert ENGINE.resident_bytes(kept) == data.as_rows().nbytes
    assert ENGINE.resident_bytes(streamed) == 0


def test_many_sparse_features_are_computed_in_small_blocks(rng: np.random.Generator) -> None:
    features = 2**17  # 32 rows a block
    x = np.zeros((100, features), np.float32)
    x[np.arange(100), rng.integers(0, features, 100)] = 2.0
    data = Partition(x, pack(x, sparse=True) | {"labels": np.arange(100, dtype=np.int32) % 2})

    found = ENGINE.class_sums(loaded(data), 2, squares=False)()

    np.testing.assert_array_equal(found.sums, [x[::2].sum(axis=0), x[1::2].sum(axis=0)])


@pytest.mark.parametrize(
    ("sparse", "column", "values", "message"),
    [
        (False, "labels", np.full(30, 3, np.int32), "'labels' has values from 3 to 3, expected 0 to 2"),
        (False, "labels", np.full(30, -1, np.int32), "'labels' has values from -1 to -1, expected 0 to 2"),
        (True, "row_pointers", np.full(31, 1, np.int64), "'row_pointers' do not rise from 0 to"),
        (True, "row_pointers", np.arange(30, -1, -1, dtype=np.int64), "'row_pointers' do not rise from 0 to"),
        (True, "indices", 5, "'indices' has values from 5 to 5, expected 0 to 4"),
        (True, "indices", -1, "'indices' has values from -1 to -1, expected 0 to 4"),
        (False, "weights", np.ones(31), "'weights' has 31 elements, a partition of 30 rows of 5 features wants 30"),
        (False, "values", np.ones(150), "'values' has 150 elements, a partition of 30 rows of 5 features wants 480"),
    ],
)
@pytest.mark.parametrize("resident", [False, True])
def test_columns_that_are_no_partition_are_refused(
    sparse: bool, column: str, values: object, message: str, resident: bool
) -> None:
    data = partition(np.random.default_rng(7), sparse=sparse)
    wrong = np.full_like(data.columns[column], values) if isinstance(values, int) else values

    with pytest.raises(DataError, match=message):
        ENGINE.class_sums(loaded(Partition(data.x, data.columns | {column: wrong}), resident), CLASSES, squares=False)()


def test_rows_without_weight_count_nothing_whatever_they_hold() -> None:
    x = np.array([[1.0, 2.0], [np.inf, np.nan], [3.0, 1.0]])
    own = {"labels": np.array([0, 1, 1], np.int32), "weights": np.array([2.0, 0.0, 1.0])}
    data = Partition(x, pack(x) | own)

    lloyd = ENGINE.lloyd(loaded(data), np.zeros((1, 2)))()
    binomial = ENGINE.binomial(loaded(data), np.zeros(2), 0.0)()
    multinomial = ENGINE.multinomial(loaded(data), np.zeros((2, 2)), np.zeros(2))()
    sums = ENGINE.class_sums(loaded(data), 2, True)()

    assert (lloyd.sums.tolist(), lloyd.cost) == ([[5.0, 5.0]], 20.0)
    assert binomial.loss == pytest.approx(3 * np.log(2))
    assert multinomial.loss == pytest.approx(3 * np.log(2))
    assert sums.sums.tolist() == [[2.0, 4.0], [3.0, 1.0]]
