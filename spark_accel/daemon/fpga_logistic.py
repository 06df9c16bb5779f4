"""Logistic regression on an FPGA: the host's side of the tier `fpga` of kernels/logistic."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import numpy as np

from spark_accel.daemon.fpga_stages import Run, Stages, sizes
from spark_accel.daemon.opencl_buffers import constant
from spark_accel.daemon.opencl_rows import DeviceRows, check_labels
from spark_accel.estimators.rows import stride
from spark_accel.estimators.sums import Float64, LogisticSums, then
from spark_accel.fpga import fixed_point
from spark_accel.fpga.fixed_point import Ranges

STAGES = ("rows", "margins", "multipliers", "gradient")
_LARGEST_LOSS = 2.0**1000  # of a row and of all rows: its scale is a number, and no margin overflows


@dataclass(frozen=True)
class EngineLogistic:
    """A partition's losses on the stages of the family `logistic`; `ranges` are the partition's."""

    stages: Stages
    ranges: Ranges

    def takes(self, matrix: Float64, intercepts: Float64) -> bool:
        """Whether the stages have room for these coefficients, and doubles for the loss."""
        classes, features = matrix.shape
        fit = self.stages.shape.takes(stride(features), classes)
        return fit and self._most_loss(matrix, intercepts) * max(self.ranges.weight, 1.0) < _LARGEST_LOSS

    def multinomial(self, data: DeviceRows, matrix: Float64, intercepts: Float64) -> Callable[[], LogisticSums]:
        """See Engine. A binomial loss is that of two classes, the first with coefficients of 0."""
        classes, features = matrix.shape
        width = stride(features)
        shape, queue = self.stages.shape, self.stages.queue
        beats, groups = shape.beats(width), shape.groups(classes)
        copies, words = shape.copies(width, classes), shape.sum_words_for(width, classes)
        scales, weight_scale = fixed_point.scale(self.ranges.totals), fixed_point.scale_of_one(self.ranges.weight)
        exponent = fixed_point.wide_exponent(self._most_loss(matrix, intercepts) * self.ranges.weight)
        bias = np.full(groups * shape.lanes, -np.inf)
        bias[:classes] = intercepts
        coefficients_there = constant(queue, self.stages.by_group(matrix))
        bias_there, scales_there = constant(queue, bias), constant(queue, self.stages.by_feature(scales))
        run = Run(self.stages)
        totals = run.buffer("totals", 8 * words * shape.lanes * shape.vec)
        multiplier_totals = run.buffer("totals of multipliers", 8 * copies * groups * shape.lanes)
        loss = run.buffer("loss", 16)
        found = []
        for chunk in data:
            check_labels(chunk, classes)
            first = sizes(chunk, beats)
            rows, by_group = first[0], (*first, np.int32(groups))
            of_rows = (chunk.labels, chunk.weights, np.float64(2.0**exponent))
            of_sums = (np.int32(copies), scales_there, np.float64(weight_scale))
            run.launch(
                {
                    "rows": (*by_group, chunk.values),
                    "margins": (*by_group, coefficients_there, bias_there),
                    "multipliers": (rows, np.int32(groups), *of_rows, loss),
                    "gradient": (*by_group, *of_sums, totals, multiplier_totals),
                }
            )
            sums = run.read(totals, np.int64, words * shape.lanes * shape.vec)
            multipliers = run.read(multiplier_totals, np.int64, copies * groups * shape.lanes)
            found.append((sums, multipliers, run.read(loss, np.uint64, 2)))

        def made(_: None) -> LogisticSums:
            by_group, multipliers, losses = zip(*found, strict=True)
            sums = fixed_point.added_up(by_group, copies, groups * beats)
            by_class = sums.reshape(groups, beats, shape.lanes, shape.vec).transpose(0, 2, 1, 3)
            gradient = by_class.reshape(groups * shape.lanes, -1)[:classes, :features] / scales[:features]
            of_classes = fixed_point.added_up(multipliers, copies, groups * shape.lanes)[:classes, 0] / weight_scale
            return LogisticSums(fixed_point.wide_total(losses, exponent), gradient, of_classes)

        return then(run.wait, made)

    def _most_loss(self, matrix: Float64, intercepts: Float64) -> float:
        """No row's loss is more: it is at most the logarithm of the classes and the difference of its margins."""
        with np.errstate(over="ignore", invalid="ignore"):
            largest = self.ranges.largest[: matrix.shape[1]]
            margin = float((np.abs(matrix) @ largest + np.abs(intercepts)).max())
            return 2.0 * margin + log(len(matrix)) + 1.0
