"""Logistic regression on an OpenCL device: the host's side of kernels/logistic."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyopencl as cl

from spark_accel.daemon.opencl_buffers import constant
from spark_accel.daemon.opencl_program import Program
from spark_accel.daemon.opencl_rows import DeviceRows, check_labels
from spark_accel.daemon.opencl_sums import Call, Sums, coefficients
from spark_accel.estimators.rows import stride
from spark_accel.estimators.sums import Float64, LogisticSums, then

_CACHE_BYTES = 400 * 2**10  # of rows that are read twice in a row: they should stay in a cache of their core
_FIRST_CACHE_BYTES = 24 * 2**10  # of these, better still, in its fastest, where little is computed of each element
_FEW_PRODUCTS = 2**26  # of a partition's gradient: so few cost too little to make them less exact, in float32
_LEAST_BLOCK = 16  # rows; blocks are multiples of it


@dataclass(frozen=True)
class Logistic:
    """The kernels of the family `logistic`."""

    queue: cl.CommandQueue
    program: Program
    sums: Sums

    def binomial(self, data: DeviceRows, coefficients: Float64, intercept: float) -> Callable[[], LogisticSums]:
        """See Engine."""
        features = len(coefficients)
        width = stride(features)
        padded = np.zeros(width)
        padded[:features] = coefficients
        parameters = (
            constant(self.queue, padded),
            float(intercept),
            min(self._block(data, _CACHE_BYTES), max(2 * _LEAST_BLOCK, self._block(data, _FIRST_CACHE_BYTES))),
        )
        call = Call(self.program, "binomial", data, parameters)

        def made(found: Float64) -> LogisticSums:
            return LogisticSums(float(found[width + 1]), found[None, :features].copy(), found[width : width + 1].copy())

        return then(self.sums.total(call, width + 2, lambda chunk: check_labels(chunk, 2)), made)

    def multinomial(self, data: DeviceRows, matrix: Float64, intercepts: Float64) -> Callable[[], LogisticSums]:
        """See Engine."""
        classes, features = matrix.shape
        sparse, program = data.rows.sparse, self.program
        lanes = -(-classes // program.lanes) * program.lanes
        gradient = features * lanes if sparse else classes * stride(features)
        tile, chunk, most = (program.defines[name] for name in ("ROWS", "CHUNK", "BLOCK"))
        bias = np.full(lanes, -np.inf)  # margins may be so large that no finite one is below them all
        bias[:classes] = intercepts
        parameters = (
            classes,
            coefficients(self.queue, matrix, program, sparse),
            constant(self.queue, bias),
            self._block(data, _CACHE_BYTES) // tile * tile,
            int(data.rows.rows * stride(features) * classes > _FEW_PRODUCTS),
        )
        total = self.sums.total(
            Call(program, "multinomial", data, parameters),
            gradient + lanes + 1,
            lambda chunk: check_labels(chunk, classes),
            8 * (tile * (chunk + 8) + (most * 3 // 2 + tile) * lanes),  # as SCRATCH_LENGTH of multinomial.h
        )

        def made(found: Float64) -> LogisticSums:
            if sparse:
                by_class = found[:gradient].reshape(features, lanes).T[:classes]
            else:
                by_class = found[:gradient].reshape(classes, -1)[:, :features]
            multiplier_sums = found[gradient : gradient + classes]
            return LogisticSums(float(found[gradient + lanes]), by_class.copy(), multiplier_sums.copy())

        return then(total, made)

    def _block(self, data: DeviceRows, nbytes: int) -> int:
        """How many rows take so many bytes."""
        row_bytes = stride(data.rows.features) * self.program.stored.itemsize
        fitting = nbytes // row_bytes // _LEAST_BLOCK * _LEAST_BLOCK
        return max(_LEAST_BLOCK, min(self.program.defines["BLOCK"], fitting))
