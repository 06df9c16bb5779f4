"""Sums of naive Bayes on an FPGA: the host's side of the tier `fpga` of kernels/naive_bayes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spark_accel.daemon.fpga_stages import Run, Stages, sizes
from spark_accel.daemon.opencl_buffers import constant
from spark_accel.daemon.opencl_rows import DeviceRows, check_labels
from spark_accel.estimators.rows import stride
from spark_accel.estimators.sums import ClassSums, then
from spark_accel.fpga import fixed_point
from spark_accel.fpga.fixed_point import Ranges

STAGES = ("class_sums",)


@dataclass(frozen=True)
class EngineNaiveBayes:
    """A partition's sums on the stage of the family `naive_bayes`; `ranges` are the partition's."""

    stages: Stages
    ranges: Ranges

    def takes(self, features: int, classes: int) -> bool:
        """Whether the stage has room for so many sums."""
        return self.stages.shape.takes(stride(features), classes)

    def class_sums(self, data: DeviceRows, classes: int, squares: bool) -> Callable[[], ClassSums]:
        """See Engine; only if `ranges.exact` or, with squares, `squares_exact`, too."""
        features = data.rows.features
        width = stride(features)
        shape, queue = self.stages.shape, self.stages.queue
        copies, words = shape.copies(width, classes), shape.sum_words_for(width, classes)
        totals = self.ranges.totals, self.ranges.square_totals
        scales = [fixed_point.scale(one) for one in totals]
        weight_scale = fixed_point.scale_of_one(self.ranges.weight)
        scales_there = [constant(queue, self.stages.by_feature(one)) for one in scales]
        run = Run(self.stages)
        matrices = [
            run.buffer(name, 8 * words * shape.vec) for name in ("totals", "totals of squares")[: 2 if squares else 1]
        ]
        weight_totals = run.buffer("totals of weights", 8 * copies * classes)
        found = []
        for chunk in data:
            check_labels(chunk, classes)
            first = (*sizes(chunk, shape.beats(width)), np.int32(classes), np.int32(copies))
            columns = (chunk.values, chunk.labels, chunk.weights)
            answers = (matrices[0], matrices[1] if squares else None, weight_totals)
            run.launch({"class_sums": (*first, *columns, *scales_there, np.float64(weight_scale), *answers)})
            sums = [run.read(one, np.int64, words * shape.vec) for one in matrices]
            found.append((run.read(weight_totals, np.int64, copies * classes), *sums))

        def made(_: None) -> ClassSums:
            weights, *sums = (fixed_point.added_up(parts, copies, classes) for parts in zip(*found, strict=True))
            by_class = [one[:, :features] / by[:features] for one, by in zip(sums, scales, strict=False)]
            return ClassSums(weights[:, 0] / weight_scale, by_class[0], by_class[1] if squares else None)

        return then(run.wait, made)
