"""What errors the estimators' kernels may make, whichever tier: sums held to a definition of the same."""

import numpy as np
from kernel_cases import Case, Float64, as_partition, assert_close
from partitions import Partition
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from spark_accel.estimators.sums import ClassSums, LloydSums, LogisticSums

# Errors that are allowed, on float32 and on float64 rows: relative to the sum of the absolute values of what is added.
PRECISION = 1e-12
SHORT_SUMS_PRECISION = 1e-7  # more, of a gradient of so many float32 products that short sums of them are float32
CHANGE_PRECISION = 1e-14  # of the difference between two losses


def without_near_ties(case: Case) -> tuple[Case, Float64]:
    """The case, and centres of which each row clearly has a nearest one: rows between two are brought to one."""
    centres = np.stack([case.rng.permutation(case.sets) for _ in range(case.partition.features)], axis=1) * 1.25 + 0.5
    squared = cdist(case.partition.x, centres, "sqeuclidean")
    nearest = np.sort(squared, axis=1)[:, :2]
    tied = nearest[:, -1] - nearest[:, 0] < 1e-9 * (1.0 + nearest[:, 0])
    if case.sets == 1 or not tied.any():
        return case, centres
    old = case.partition
    x = old.x.copy()
    x[tied] = centres[case.rng.integers(0, case.sets, tied.sum())] + case.rng.uniform(-0.2, 0.2, x[tied].shape)
    x = x.astype(old.columns["values"].dtype)
    new = as_partition(case.rng, x, case.sets, "indices" in old.columns, "weights" in old.columns)
    return Case(new, case.sets, case.rng), centres


def assert_is_a_step(found: LloydSums, data: Partition, centres: Float64, precision: float) -> None:
    squared = cdist(data.x, centres, "sqeuclidean")
    nearest = squared.argmin(axis=1)
    sums, absolute = np.zeros_like(centres), np.zeros_like(centres)
    np.add.at(sums, nearest, data.weights[:, None] * data.x)
    np.add.at(absolute, nearest, data.weights[:, None] * np.abs(data.x))
    weight_sums = np.bincount(nearest, data.weights, len(centres))
    cost = data.weights @ squared.min(axis=1)
    # Of sparse rows the zeros' part of a distance is the centre's squared norm less the other elements' part.
    norms = data.weights @ (centres**2).sum(axis=1)[nearest] if "indices" in data.columns else 0.0
    assert_close(found.sums, sums, precision * absolute)
    assert_close(found.weight_sums, weight_sums, precision * weight_sums)
    assert_close(found.cost, cost, precision * cost + 1e-12 * norms)


def assert_is_a_loss(
    found: LogisticSums,
    expected: LogisticSums,
    data: Partition,
    matrix: Float64,
    intercepts: Float64,
    *,
    precision_of_products: float = 0.0,
) -> None:
    """`matrix` [classes, features]. A margin's error is one of the loss, and a relative one of the probabilities."""
    margins = data.x @ matrix.T + intercepts
    sizes = sizes_of(data, matrix, intercepts)
    probabilities = np.exp(margins - logsumexp(margins, axis=1, keepdims=True))
    multipliers = probabilities * (1.0 - np.eye(len(matrix))[data.labels])
    multipliers += multipliers.sum(axis=1, keepdims=True) * np.eye(len(matrix))[data.labels]
    multipliers *= data.weights[:, None]
    multiplier_sums = (multipliers * sizes[:, None]).sum(axis=0)
    gradient = (multipliers * (PRECISION * sizes[:, None] + precision_of_products)).T @ np.abs(data.x)
    if len(found.gradient) < len(matrix):
        gradient, multiplier_sums = gradient[1:], multiplier_sums[1:]
    # The reference's own multipliers are differences of numbers near 1.
    rounding = 1e-15 * data.weights.sum()
    of_x = rounding * (1 + np.abs(data.x).max())
    assert_close(found.loss, expected.loss, PRECISION * (data.weights @ sizes) + PRECISION * expected.loss)
    assert_close(found.gradient, expected.gradient, gradient + of_x)
    assert_close(found.multiplier_sums, expected.multiplier_sums, PRECISION * multiplier_sums + rounding)


def sizes_of(data: Partition, matrix: Float64, intercepts: Float64) -> Float64:
    """By row, how large what its margins are added up of is, at most."""
    sizes: Float64 = 1.0 + (np.abs(data.x) @ np.abs(matrix).T + np.abs(intercepts)).max(axis=1)
    return sizes


def assert_are_class_sums(found: ClassSums, expected: ClassSums, data: Partition, precision: float) -> None:
    by_class = np.eye(len(expected.weight_sums))[data.labels] * data.weights[:, None]
    assert_close(found.weight_sums, expected.weight_sums, precision * expected.weight_sums)
    assert_close(found.sums, expected.sums, precision * (by_class.T @ np.abs(data.x)))
    assert (found.square_sums is None) is (expected.square_sums is None)
    if found.square_sums is not None and expected.square_sums is not None:
        assert_close(found.square_sums, expected.square_sums, precision * expected.square_sums)
