"""k-means on an OpenCL device: the host's side of kernels/kmeans."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyopencl as cl

from spark_accel.daemon.opencl_buffers import constant
from spark_accel.daemon.opencl_program import Argument, Program
from spark_accel.daemon.opencl_rows import DeviceRows
from spark_accel.daemon.opencl_sums import Call, Sums, biases, coefficients
from spark_accel.estimators.rows import stride
from spark_accel.estimators.sums import Float64, LloydSums, NearestCentres, then


@dataclass(frozen=True)
class KMeans:
    """The kernels of the family `kmeans`."""

    queue: cl.CommandQueue
    program: Program
    sums: Sums

    def lloyd(self, data: DeviceRows, centres: Float64) -> Callable[[], LloydSums]:
        """See Engine."""
        k, features = centres.shape
        width = stride(features)

        def made(found: Float64) -> LloydSums:
            by_cluster = found[: k * width].reshape(k, width)[:, :features]
            weight_sums = found[k * width : k * width + k]
            return LloydSums(by_cluster.copy(), weight_sums.copy(), float(found[k * width + k]))

        return then(self.sums.total(self._call("lloyd", data, centres), k * width + k + 1), made)

    def costs(self, data: DeviceRows, centres: Float64) -> Callable[[], NearestCentres]:
        """See Engine."""
        return then(self.sums.by_row(self._call("costs", data, centres)), lambda found: NearestCentres(*found))

    def _call(self, name: str, data: DeviceRows, centres: Float64) -> Call:
        k, features = centres.shape
        rows = np.zeros((k, stride(features)))
        rows[:, :features] = centres
        with np.errstate(over="ignore", invalid="ignore"):
            squared_norms = (centres**2).sum(axis=1)
        sparse = data.rows.sparse
        parameters: tuple[Argument, ...] = (
            k,
            constant(self.queue, rows),
            coefficients(self.queue, centres, self.program, sparse),
            constant(self.queue, biases(-squared_norms / 2, self.program)),
            float(squared_norms.max()),
        )
        if sparse:
            parameters = (*parameters, constant(self.queue, squared_norms))
        return Call(self.program, name, data, parameters)
