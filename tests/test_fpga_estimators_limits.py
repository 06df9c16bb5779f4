"""What the estimators' stages for FPGAs decline, refuse and count."""

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import emulated_estimators
import numpy as np
import pytest
from kernel_cases import as_partition
from partitions import Array
from stage_answers import each_shape, expected, run, shape_of

from spark_accel.estimators.rows import DataError, stride
from spark_accel.fpga import estimator_trips


def normal(rows: int, features: int) -> Array:
    return np.random.default_rng(11).normal(size=(rows, features)).astype(np.float32)


@pytest.mark.parametrize("method", ["lloyd", "costs", "binomial", "multinomial", "class_sums"])
@pytest.mark.parametrize(
    ("x", "sparse", "sets"),
    [
        (normal(60, 5), True, 3),
        (normal(60, 5).astype(np.float64), False, 3),
        (normal(60, 2049), False, 2),  # more features than a row has on the chip
        (normal(60, 1600), False, 90),  # more sums
    ],
    ids=["sparse", "float64", "features", "sets"],
)
def test_what_the_stages_can_not_take_the_portable_kernels_compute(
    emulator: ProcessPoolExecutor,
    method: str,
    x: Array,
    sparse: bool,
    sets: int,
) -> None:
    rng = np.random.default_rng(12)
    data = as_partition(rng, x, 2, sparse, weighted=True)
    matrix = rng.normal(0.0, 0.01, (sets, data.features))
    others = {"binomial": (matrix[0], 0.1), "multinomial": (matrix, matrix[:, 0]), "class_sums": (sets, True)}
    arguments = others.get(method, (matrix,))

    found, trips = run(emulator, data, method, *arguments)

    declined = not (method == "binomial" and sets == 90)
    assert (trips == {}) is declined
    reference = expected(data, method, *arguments)
    for name, value in vars(found).items():
        if value is not None:
            np.testing.assert_allclose(value, vars(reference)[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, 1e-40])
def test_numbers_without_a_fixed_point_are_not_silently_wrong(emulator: ProcessPoolExecutor, value: float) -> None:
    x = np.ones((500, 3), np.float32)
    x[-1, 0] = value
    if value < 1:
        x[:, 0] = value
    data = as_partition(np.random.default_rng(0), x, 1, sparse=False, weighted=True)
    data.columns["weights"][:] = 2.0
    data.columns["weights"][-1] = 0.0 if not np.isfinite(value) else 1.0

    found, trips = run(emulator, data, "lloyd", np.array([[0.0] * 3, [value if np.isfinite(value) else 9.0, 9.0, 9.0]]))

    assert trips == {}
    counted = data.weights > 0
    sums = (data.x[counted] * data.weights[counted, None])[:-1].sum(axis=0)
    np.testing.assert_allclose(found.sums[0, 1:], sums[1:], rtol=0.01)


@each_shape
@pytest.mark.parametrize(("features", "sets"), [(5, 3), (16, 16), (70, 17), (100, 8)])
def test_the_stages_count_the_iterations_of_the_model(
    emulator: ProcessPoolExecutor, defines: dict[str, int], features: int, sets: int
) -> None:
    rng = np.random.default_rng(13)
    matrix = 10.0 * rng.normal(size=(sets, features))
    x = (matrix[rng.integers(0, sets, 300)] + 0.01 * rng.normal(size=(300, features))).astype(np.float32)
    data = as_partition(rng, x, sets, sparse=False, weighted=False)
    sizes = 300, stride(features), sets

    def trips(method: str, *arguments: Any) -> Mapping[str, int]:  # noqa: ANN401
        return run(emulator, data, method, *arguments, defines=defines)[1]

    kmeans = shape_of("kmeans", defines)
    assert trips("lloyd", matrix) == estimator_trips.kmeans(kmeans, *sizes)
    alike = np.zeros_like(matrix)
    assert trips("lloyd", alike) == estimator_trips.kmeans(kmeans, *sizes, uncertain=300)
    logistic = estimator_trips.logistic(shape_of("logistic", defines), *sizes)
    assert trips("multinomial", matrix, np.zeros(sets)) == logistic
    naive_bayes = estimator_trips.naive_bayes(shape_of("naive_bayes", defines), *sizes)
    assert trips("class_sums", sets, False) == naive_bayes


@pytest.mark.parametrize("resident", [True, False])
def test_labels_that_are_no_class_are_refused_before_a_stage_reads_them(
    emulator: ProcessPoolExecutor, resident: bool
) -> None:
    data = as_partition(np.random.default_rng(0), np.ones((9, 3), np.float32), 3, sparse=False, weighted=False)
    data.columns["labels"][4] = 3

    for method, arguments in [("multinomial", (np.zeros((3, 3)), np.zeros(3))), ("class_sums", (3, False))]:
        with pytest.raises(DataError, match=r"'labels' has values from 0 to 3, expected 0 to 2"):
            run(emulator, data, method, *arguments, resident=resident)


@pytest.mark.parametrize(
    ("tier", "kind"), [("auto", "FpgaEngine"), ("fpga", "FpgaEngine"), ("portable", "OpenCLEngine")]
)
def test_a_device_with_channels_has_the_engine_unless_another_tier_is_asked_for(
    emulator: ProcessPoolExecutor, tier: str, kind: str
) -> None:
    assert emulator.submit(emulated_estimators.kind, tier).result() == kind
