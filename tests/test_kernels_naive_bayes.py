"""The naive Bayes kernels on a real OpenCL device, tier by tier, against the reference; what all kernels refuse."""

import gc
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_bounds import assert_are_class_sums
from kernel_cases import DEVICE, REFERENCE, Case, as_partition, assert_same, cases, engine, tiers

from spark_accel.daemon import opencl_rows, opencl_sums
from spark_accel.daemon.kernels import KernelError
from spark_accel.daemon.network import DeviceMemoryError
from spark_accel.daemon.opencl_estimators import OpenCLEngine
from spark_accel.estimators.rows import ArrayColumn, DataError, Rows

Array = npt.NDArray[Any]
each_tier = pytest.mark.parametrize("tier", tiers("naive_bayes"))


@each_tier
@settings(max_examples=25)
@given(cases(most_sets=30), st.booleans())
def test_sums_by_class_are_the_references_resident_or_streamed(tier: str, case: Case, squares: bool) -> None:
    resident, streamed, reference = case.loaded(tier)

    found = engine(tier).class_sums(resident, case.sets, squares)()

    expected = REFERENCE.class_sums(reference, case.sets, squares)()
    assert_are_class_sums(found, expected, case.partition, case.precision)
    assert_same(found, engine(tier).class_sums(resident, case.sets, squares)())
    assert_same(found, engine(tier).class_sums(streamed, case.sets, squares)())


@each_tier
@pytest.mark.parametrize("sparse", [False, True])
def test_chunks_and_passes_of_any_size_give_the_same_bits(
    tier: str, sparse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = as_partition(np.random.default_rng(5), np.random.default_rng(6).random((9001, 30)), 4, sparse, weighted=True)
    expected = engine(tier).class_sums(engine(tier).load(data.as_rows(), True), 4, True)()

    monkeypatch.setattr(opencl_rows, "_STREAMED_BYTES", 700_000)
    monkeypatch.setattr(opencl_sums, "_PARTIAL_BYTES", 1)
    streamed = engine(tier).load(data.as_rows(), False)

    assert len([chunk.span for chunk in streamed]) > 2
    assert_same(engine(tier).class_sums(streamed, 4, True)(), expected)


@each_tier
def test_rows_that_are_streamed_by_several_calls_at_once_are_not_mixed_up(
    tier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(7)
    partitions = [as_partition(rng, rng.random((9001, 30)), 4, sparse=False, weighted=True) for _ in range(3)]
    monkeypatch.setattr(opencl_rows, "_STREAMED_BYTES", 700_000)
    expected = [engine(tier).class_sums(engine(tier).load(one.as_rows(), True), 4, True)() for one in partitions]

    waits = [engine(tier).class_sums(engine(tier).load(one.as_rows(), False), 4, True) for one in partitions]

    for wait, one in zip(waits, expected, strict=True):
        assert_same(wait(), one)


def partition_with(**columns: Array) -> Rows:
    data = as_partition(np.random.default_rng(0), np.ones((4, 3), np.float32), 2, sparse=True, weighted=True)
    rows = data.as_rows()
    return replace(rows, **{name: ArrayColumn(values) for name, values in columns.items()})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"indices": np.array([0, 1, 3] * 4, np.int32)}, r"'indices' has values from 0 to 3, expected 0 to 2"),
        ({"indices": np.array([0, 1, -1] * 4, np.int32)}, r"'indices' has values from -1"),
        ({"indices": np.zeros(12)}, r"'indices' are float64, expected int32"),
        ({"row_pointers": np.array([0, 9, 6, 9, 12])}, r"'row_pointers' do not rise from 0 to 12"),
        ({"row_pointers": np.array([0, 3, 6, 9, 13])}, r"'row_pointers' do not rise"),
        ({"row_pointers": np.array([-2, 3, 6, 9, 12])}, r"'row_pointers' do not rise"),
        ({"row_pointers": np.array([0, 2**63 - 1, -2, 9, 12])}, r"'row_pointers' do not rise"),  # steps overflow
        ({"row_pointers": np.array([0, 3, 12])}, r"'row_pointers' has 3 elements"),
        ({"values": np.zeros(12, np.int32)}, r"'values' are int32, expected float32 or float64"),
        ({"labels": np.zeros(3, np.int32)}, r"'labels' has 3 elements"),
        ({"weights": np.zeros(4, np.float32)}, r"'weights' are float32, expected float64"),
    ],
)
def test_columns_that_are_no_partition_are_refused_before_a_kernel_reads_them(
    columns: dict[str, Array], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        engine("portable").load(partition_with(**columns), True)
    with pytest.raises(DataError, match=message):
        engine("portable").class_sums(engine("portable").load(partition_with(**columns), False), 2, True)()


def test_labels_of_no_class_and_missing_labels_are_refused() -> None:
    negative = engine("portable").load(partition_with(labels=np.array([0, -1, 1, 0], np.int32)), True)
    without = engine("portable").load(replace(partition_with(), labels=None), True)

    with pytest.raises(DataError, match="'labels' has values from -1 to 1"):
        engine("portable").class_sums(negative, 2, False)()
    with pytest.raises(DataError, match="needs 'labels'"):
        engine("portable").class_sums(without, 2, False)()


def test_parameters_of_another_shape_than_the_data_are_refused() -> None:
    data = engine("portable").load(partition_with(), True)

    with pytest.raises(ValueError, match=r"centres have shape \(2, 4\), expected \[sets, 3\]"):
        engine("portable").lloyd(data, np.zeros((2, 4)))()
    with pytest.raises(ValueError, match=r"coefficients have shape \(2, 3\), expected \[3, 3\]"):
        engine("portable").multinomial(data, np.zeros((2, 3)), np.zeros(3))()


def test_more_than_the_device_takes_is_an_error_that_says_what() -> None:
    data = engine("portable").load(partition_with(), True)

    with pytest.raises(DeviceMemoryError, match=r"partial sums take .* bytes"):
        engine("portable").class_sums(data, DEVICE.max_mem_alloc_size, True)()


def test_resident_bytes_are_what_the_device_holds() -> None:
    rows = partition_with(values=np.ones(13, np.float32)[1:])  # at an odd address, or they would not be copied

    resident = engine("portable").load(rows, True)
    assert engine("portable").resident_bytes(resident) == 12 * 4 + 12 * 4 + 5 * 8 + 4 * 4 + 4 * 8
    assert engine("portable").resident_bytes(engine("portable").load(rows, False)) == 0


def test_rows_that_a_kernel_refuses_are_not_kept() -> None:
    data = engine("portable").load(partition_with(labels=np.array([0, 1, 2, 1], np.int32)), True)
    kept = weakref.ref(data)

    with pytest.raises(DataError, match="labels"):
        engine("portable").class_sums(data, 2, False)
    del data
    gc.collect()

    assert kept() is None


def test_a_tier_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(KernelError, match="no kernels for this device"):
        OpenCLEngine(DEVICE, "quantum")
