"""For the tests of the estimators' OpenCL kernels: partitions of any shape, engines of any tier, allowed errors.

The environment variable SPARK_ACCEL_TEST_DEVICE names another device than the processor for all tests of kernels.
"""

import functools
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from partitions import Partition, pack

from spark_accel.daemon import devices, fpga_estimators, kernels
from spark_accel.daemon.opencl_estimators import OpenCLEngine
from spark_accel.daemon.opencl_rows import DeviceRows
from spark_accel.estimators.reference import ReferenceData, ReferenceEngine

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]
DEVICE = devices.open_device(os.environ.get("SPARK_ACCEL_TEST_DEVICE", "cpu-0"))
REFERENCE = ReferenceEngine()


@functools.cache
def engine(tier: str) -> OpenCLEngine:
    return fpga_estimators.engine(DEVICE, tier)


def tiers(family: str) -> list[str]:
    """The tiers that the device can run."""
    properties = devices.properties(DEVICE)
    found = kernels.tiers(kernels.folder() / family)
    return [tier.name for tier in found if not properties.lacks(tier.requires)]


@dataclass(frozen=True, eq=False)
class Case:
    """A partition, as many sets (clusters, classes) as it is for, and a source of more random numbers."""

    partition: Partition
    sets: int
    rng: np.random.Generator

    @property
    def precision(self) -> float:
        """What errors are allowed, relative to the sum of the absolute values of what is added."""
        return 1e-12 if self.partition.columns["values"].dtype == np.float64 else 1e-6

    def loaded(self, tier: str) -> tuple[DeviceRows, DeviceRows, ReferenceData]:
        """The partition resident on a device, streamed to it, and as the reference has it."""
        rows = self.partition.as_rows()
        return engine(tier).load(rows, True), engine(tier).load(rows, False), REFERENCE.load(rows, True)


@st.composite
def cases(draw: st.DrawFn, most_sets: int, least_sets: int = 1) -> Case:
    """Rows of all kinds: several slices, empty ones, without weight; values are whole where k-means needs no ties."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = draw(st.one_of(st.integers(1, 40), st.integers(500, 1100), st.sampled_from([4096, 9001])))
    features = draw(st.one_of(st.integers(1, 40), st.sampled_from([15, 16, 17, 32, 33, 70])))
    sets = draw(st.integers(least_sets, most_sets))
    precision = draw(st.sampled_from([np.float32, np.float64]))
    sparse = draw(st.booleans())
    x = rng.normal(0.5, 1.0, (rows, features))
    if sparse:
        x *= rng.random((rows, features)) < draw(st.sampled_from([0.02, 0.3, 1.0]))
        x[rng.random(rows) < 0.1] = 0.0
    return Case(as_partition(rng, x.astype(precision), sets, sparse, draw(st.booleans())), sets, rng)


def as_partition(rng: np.random.Generator, x: Array, classes: int, sparse: bool, weighted: bool) -> Partition:
    """With random labels and, where `weighted`, weights of which some are 0."""
    columns = pack(x, sparse)
    columns["labels"] = rng.integers(0, classes, len(x)).astype(np.int32)
    if weighted:
        columns["weights"] = rng.choice([0.0, 0.5, 1.0, 3.25], len(x))
    return Partition(x.astype(np.float64), columns)


def assert_close(found: Float64 | float, expected: Float64 | float, allowed: Float64 | float) -> None:
    """Each error is at most what is allowed for it."""
    error = np.abs(np.asarray(found) - expected)
    bound = np.broadcast_to(np.asarray(allowed) + 1e-300, error.shape)
    assert np.isfinite(found).all()
    assert (error <= bound).all(), f"up to {(error / bound).max():.3g} times the error that is allowed"


def assert_same(one: object, other: object) -> None:
    """The same bits in all fields of two answers."""
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, vars(other)[name], err_msg=name)
