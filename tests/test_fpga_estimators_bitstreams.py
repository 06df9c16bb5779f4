"""The estimators' engine for FPGAs on bitstreams: whose macros are checked, and what runs where nothing compiles."""

from concurrent.futures import ProcessPoolExecutor

import emulated_estimators
import numpy as np
import pytest
from emulated_estimators import Asked
from kernel_bounds import assert_are_class_sums
from kernel_cases import as_partition
from partitions import Partition
from stage_answers import expected

from spark_accel.daemon.kernels import KernelError
from spark_accel.errors import ModelError

ASKED = Asked("class_sums", (3, False), {"FEATURES": 128, "COPIES": 11})


def partition(*, sparse: bool = False, dtype: type[np.floating] = np.float32) -> Partition:
    rng = np.random.default_rng(0)
    return as_partition(rng, rng.normal(size=(50, 20)).astype(dtype), 3, sparse, weighted=True)


def test_a_family_that_the_board_holds_moves_to_a_bitstream_that_is_loaded(emulator: ProcessPoolExecutor) -> None:
    data = partition()

    found = emulator.submit(
        emulated_estimators.on_bitstream, data, ASKED, "naive_bayes", recorded=ASKED.defines
    ).result()

    assert_are_class_sums(found, expected(data, "class_sums", 3, False), data, 1e-6)


def test_macros_that_are_not_those_of_its_record_are_noticed_though_the_board_holds_the_family(
    emulator: ProcessPoolExecutor,
) -> None:
    recorded = {**ASKED.defines, "COPIES": 8}

    with pytest.raises(ModelError, match=r"was built with COPIES=11, and bitstream.json says otherwise"):
        emulator.submit(emulated_estimators.on_bitstream, partition(), ASKED, "naive_bayes", recorded).result()


def test_a_device_that_compiles_nothing_runs_bitstreams(emulator: ProcessPoolExecutor) -> None:
    data = partition()

    found, trips = emulator.submit(emulated_estimators.without_a_compiler, data, ASKED, ["naive_bayes"]).result()

    assert trips
    assert_are_class_sums(found, expected(data, "class_sums", 3, False), data, 1e-6)


@pytest.mark.parametrize(
    ("data", "families", "reason"),
    [
        (partition(), ["kmeans"], "no bitstream of the kernels of 'naive_bayes' is loaded: `spark-accel kernels build"),
        (partition(dtype=np.float64), ["naive_bayes"], "bitstreams of 'naive_bayes' take float32 rows"),
        (partition(sparse=True), ["naive_bayes"], "its stages of 'naive_bayes' can't take this partition or request"),
    ],
    ids=["family", "float64", "sparse"],
)
def test_it_refuses_what_it_has_no_bitstream_for(
    emulator: ProcessPoolExecutor, data: Partition, families: list[str], reason: str
) -> None:
    with pytest.raises(KernelError, match=f"^device '.*' compiles nothing, and {reason}"):
        emulator.submit(emulated_estimators.without_a_compiler, data, ASKED, families).result()
