"""What the kernels of the estimators answer: mostly sums over the rows of one partition, in float64."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from spark_accel.estimators.rows import Rows

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Data = TypeVar("Data")
Found = TypeVar("Found")
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class LloydSums:
    """One step of Lloyd's algorithm: by cluster, `sums` [k, features] of weight x row and `weight_sums` [k]; `cost`,
    the sum of weight x squared distance to the nearest centre."""

    sums: Float64
    weight_sums: Float64
    cost: float


@dataclass(frozen=True, eq=False)
class NearestCentres:
    """By row: `nearest` [rows], the index of the nearest centre, and `costs` [rows], the squared distance to it."""

    nearest: Int32
    costs: Float64


@dataclass(frozen=True, eq=False)
class LogisticSums:
    """Loss and gradient of a logistic regression: `loss`; `gradient` [sets, features]; `multiplier_sums` [sets], the
    gradient by intercept. `sets` is 1 for a binomial one, else the number of classes."""

    loss: float
    gradient: Float64
    multiplier_sums: Float64


@dataclass(frozen=True, eq=False)
class ClassSums:
    """By class: `weight_sums` [classes]; `sums` [classes, features] of weight x row; `square_sums` of weight x row
    squared, None where they were not asked for."""

    weight_sums: Float64
    sums: Float64
    square_sums: Float64 | None


def then(wait: Callable[[], Found], make: Callable[[Found], Made]) -> Callable[[], Made]:
    """What waits as `wait` does, and makes something of what it gives."""
    return lambda: make(wait())


class Engine(Protocol[Data]):
    """The kernels of the estimators on one device. `load` comes first, its answer is what the kernels take.

    A kernel is begun by its call, and what that gives waits for the answer, so that several can be under way. Either
    may raise network.DeviceMemoryError. The same call gives the same bits each time, and whether the data is resident
    makes no difference.
    """

    def load(self, rows: Rows, resident: bool) -> Data:
        """Checks `rows` and takes them to the device, or (not `resident`) reads them anew at each call.

        Raises rows.DataError, and network.DeviceMemoryError where they don't fit.
        """

    def wanted_bytes(self, rows: Rows) -> int:
        """How much of the device's memory resident `rows` would take."""

    def resident_bytes(self, data: Data) -> int:
        """How much of the device's memory the data holds."""

    def lloyd(self, data: Data, centres: Float64) -> Callable[[], LloydSums]:
        """`centres` [k, features]; ties go to the lower index; rows of weight 0 count nothing."""

    def costs(self, data: Data, centres: Float64) -> Callable[[], NearestCentres]:
        """`centres` [k, features]; ties go to the lower index."""

    def binomial(self, data: Data, coefficients: Float64, intercept: float) -> Callable[[], LogisticSums]:
        """`coefficients` [features]; labels are 0 and 1."""

    def multinomial(self, data: Data, coefficients: Float64, intercepts: Float64) -> Callable[[], LogisticSums]:
        """`coefficients` [classes, features], `intercepts` [classes]; raises rows.DataError for a label beyond."""

    def class_sums(self, data: Data, classes: int, squares: bool) -> Callable[[], ClassSums]:
        """Raises rows.DataError for a label beyond `classes`."""

    def waiting(self) -> Callable[[], None] | None:
        """What waits, in any thread, until all kernels that were begun have ended; None where none runs by itself."""
