"""Sums of naive Bayes on an OpenCL device: the host's side of kernels/naive_bayes."""

from collections.abc import Callable
from dataclasses import dataclass

from spark_accel.daemon.opencl_program import Program
from spark_accel.daemon.opencl_rows import DeviceRows, check_labels
from spark_accel.daemon.opencl_sums import Call, Sums
from spark_accel.estimators.rows import stride
from spark_accel.estimators.sums import ClassSums, Float64, then


@dataclass(frozen=True)
class NaiveBayes:
    """The kernels of the family `naive_bayes`."""

    program: Program
    sums: Sums

    def class_sums(self, data: DeviceRows, classes: int, squares: bool) -> Callable[[], ClassSums]:
        """See Engine."""
        features = data.rows.features
        width = stride(features)
        matrices = 2 if squares else 1
        total = self.sums.total(
            Call(self.program, "class_sums", data, (classes, int(squares))),
            matrices * classes * width + classes,
            lambda chunk: check_labels(chunk, classes),
        )

        def made(found: Float64) -> ClassSums:
            sums = found[: matrices * classes * width].reshape(matrices, classes, width)[:, :, :features].copy()
            weight_sums = found[matrices * classes * width :][:classes]
            return ClassSums(weight_sums.copy(), sums[0], sums[1] if squares else None)

        return then(total, made)
