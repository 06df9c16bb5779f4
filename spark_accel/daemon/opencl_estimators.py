"""The estimators' kernels on an OpenCL device: `OpenCLEngine`, one of the engines that `estimators/sums.py` defines.

What a partition is on the device is `opencl_rows.py`'s, how sums over its rows are made `opencl_sums.py`'s, what the
kernels of a family are given and answer `opencl_kmeans.py`'s, `opencl_logistic.py`'s and `opencl_naive_bayes.py`'s.
"""

import contextlib
import itertools
import weakref
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyopencl as cl

from spark_accel.daemon.estimator_kernels import FAMILIES
from spark_accel.daemon.network import DeviceMemoryError
from spark_accel.daemon.opencl_buffers import Kept
from spark_accel.daemon.opencl_kmeans import KMeans
from spark_accel.daemon.opencl_logistic import Logistic
from spark_accel.daemon.opencl_naive_bayes import NaiveBayes
from spark_accel.daemon.opencl_program import Program, Programs
from spark_accel.daemon.opencl_rows import DeviceRows, values_in_place
from spark_accel.daemon.opencl_staging import Staging
from spark_accel.daemon.opencl_sums import Sums
from spark_accel.estimators.rows import Rows
from spark_accel.estimators.sums import ClassSums, Float64, Found, LloydSums, LogisticSums, NearestCentres


class OpenCLEngine:
    """See Engine. Not for several threads at once.

    `tier` is the setting `kernels`. Raises kernels.KernelError where the device suits no tier. Kernels of `families`
    are compiled when one is first used on data of a type.
    """

    def __init__(self, device: cl.Device, tier: str = "auto", families: Sequence[str] = FAMILIES) -> None:
        self._context = cl.Context([device])
        self._queue = cl.CommandQueue(self._context)
        self._programs = Programs(self._context, families, tier)
        self._kept = Kept(self._queue)
        self._staging = Staging(self._queue)
        self._sums = Sums(self._queue, self._kept)
        self._loaded: weakref.WeakSet[DeviceRows] = weakref.WeakSet()
        self._calls = itertools.count()
        self._under_way: dict[int, DeviceRows] = {}  # what kernels may be reading, by call; the queue keeps their order

    def load(self, rows: Rows, resident: bool) -> DeviceRows:
        """See Engine."""
        rows.check_sizes()
        if resident:
            self._require(self.wanted_bytes(rows))
        with self._memory_named():
            data = DeviceRows(self._staging, rows, resident)
        self._loaded.add(data)
        return data

    def wanted_bytes(self, rows: Rows) -> int:
        """See Engine."""
        lying = values_in_place(self._queue, rows)
        return rows.nbytes - (0 if lying is None else len(rows.values) * rows.values.dtype.itemsize)

    def resident_bytes(self, data: DeviceRows) -> int:
        """See Engine."""
        return data.nbytes

    def lloyd(self, data: DeviceRows, centres: Float64) -> Callable[[], LloydSums]:
        """See Engine."""
        check_sets(data, centres.shape, "centres")
        return self._begun(data, lambda: self._kmeans(data).lloyd(data, centres))

    def costs(self, data: DeviceRows, centres: Float64) -> Callable[[], NearestCentres]:
        """See Engine."""
        check_sets(data, centres.shape, "centres")
        return self._begun(data, lambda: self._kmeans(data).costs(data, centres))

    def binomial(self, data: DeviceRows, coefficients: Float64, intercept: float) -> Callable[[], LogisticSums]:
        """See Engine."""
        check_sets(data, (1, *coefficients.shape), "coefficients")
        return self._begun(data, lambda: self._logistic(data).binomial(data, coefficients, intercept))

    def multinomial(self, data: DeviceRows, coefficients: Float64, intercepts: Float64) -> Callable[[], LogisticSums]:
        """See Engine."""
        check_sets(data, coefficients.shape, "coefficients", len(intercepts))
        return self._begun(data, lambda: self._logistic(data).multinomial(data, coefficients, intercepts))

    def class_sums(self, data: DeviceRows, classes: int, squares: bool) -> Callable[[], ClassSums]:
        """See Engine."""
        return self._begun(data, lambda: self._naive_bayes(data).class_sums(data, classes, squares))

    def waiting(self) -> Callable[[], None]:
        """See Engine."""
        all_of_it = cl.enqueue_marker(self._queue)
        self._queue.flush()
        return all_of_it.wait

    def _kmeans(self, data: DeviceRows) -> KMeans:
        return KMeans(self._queue, self._program("kmeans", data), self._sums)

    def _logistic(self, data: DeviceRows) -> Logistic:
        return Logistic(self._queue, self._program("logistic", data), self._sums)

    def _naive_bayes(self, data: DeviceRows) -> NaiveBayes:
        return NaiveBayes(self._program("naive_bayes", data), self._sums)

    def _program(self, family: str, data: DeviceRows) -> Program:
        return self._programs.get(family, np.dtype(data.rows.values.dtype))

    def _require(self, nbytes: int) -> None:
        device = self._queue.device
        held = sum(data.nbytes for data in self._loaded)
        if held + nbytes > device.global_mem_size:  # some drivers hand out more memory than there is
            raise DeviceMemoryError(
                f"a partition of {nbytes:,} bytes does not fit into the memory of device '{device.name}', which has"
                f" {device.global_mem_size:,} bytes of which {held:,} hold other partitions: release those"
            )

    def _begun(self, data: DeviceRows, begin: Callable[[], Callable[[], Found]]) -> Callable[[], Found]:
        """Begins a kernel on `data`, and keeps that until the kernel has read it, whatever the caller does with it."""
        number = next(self._calls)
        self._under_way[number] = data
        try:
            with self._memory_named():
                wait = begin()
        except BaseException:  # some of its commands may be queued
            self._queue.finish()
            self._under_way.clear()
            raise

        def answer() -> Found:
            try:
                with self._memory_named():
                    return wait()
            finally:
                for ended in [other for other in self._under_way if other <= number]:
                    del self._under_way[ended]

        return answer

    @contextlib.contextmanager
    def _memory_named(self) -> Iterator[None]:
        try:
            yield
        except cl.MemoryError as error:
            name = self._queue.device.name
            raise DeviceMemoryError(f"the memory of device '{name}' is full ({error}): release partitions") from error


def check_sets(data: DeviceRows, shape: tuple[int, ...], name: str, sets: int | None = None) -> None:
    """Raises ValueError unless `shape` is [sets, features]: kernels read as much as they take it for."""
    features = data.rows.features
    if len(shape) != 2 or shape[0] < 1 or shape[1] != features or sets not in (None, shape[0]):
        raise ValueError(f"{name} have shape {shape}, expected [{'sets' if sets is None else sets}, {features}]")
