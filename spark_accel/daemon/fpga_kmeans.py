"""k-means on an FPGA: the host's side of the tier `fpga` of kernels/kmeans."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from spark_accel.daemon.fpga_stages import Argument, Run, Stages, sizes
from spark_accel.daemon.opencl_buffers import constant
from spark_accel.daemon.opencl_rows import Chunk, DeviceRows
from spark_accel.estimators.rows import stride
from spark_accel.estimators.sums import Float64, LloydSums, NearestCentres, then
from spark_accel.fpga import fixed_point
from spark_accel.fpga.fixed_point import Ranges

STAGES = ("rows", "scores", "distances", "sums")
_LARGEST_CENTRE = 2.0**120  # float32 pairs have no larger sums
_UNIT = 2.0**-24  # half the distance from 1 to the next float32
_TINY = 2.0**-123  # of a feature, more than what its difference, its square and their sums lack that underflow


@dataclass(frozen=True)
class EngineKMeans:
    """A partition's steps on the stages of the family `kmeans`; `ranges` are the partition's."""

    stages: Stages
    ranges: Ranges

    def takes(self, centres: Float64) -> bool:
        """Whether the stages have room for these centres, and floats for their numbers."""
        k, features = centres.shape
        return self.stages.shape.takes(stride(features), k) and bool((np.abs(centres) < _LARGEST_CENTRE).all())

    def lloyd(self, data: DeviceRows, centres: Float64) -> Callable[[], LloydSums]:
        """See Engine; only if `ranges.exact`."""
        k, features = centres.shape
        width = stride(features)
        shape, queue = self.stages.shape, self.stages.queue
        copies, words = shape.copies(width, k), shape.sum_words_for(width, k)
        scales, weight_scale = fixed_point.scale(self.ranges.totals), fixed_point.scale_of_one(self.ranges.weight)
        exponent = fixed_point.wide_exponent(self._most_cost(centres))
        run = Run(self.stages)
        totals = run.buffer("totals", 8 * words * shape.vec)
        weight_totals, cost = run.buffer("totals of weights", 8 * copies * k), run.buffer("cost", 16)
        by = np.float64(weight_scale), np.float64(2.0**exponent)
        there = constant(queue, self.stages.by_feature(scales))
        found = []
        for chunk, arguments in self._launches(data, centres):
            arguments["distances"] += (np.int32(0), None, None)
            first = (*sizes(chunk, shape.beats(width)), np.int32(k), np.int32(copies))
            arguments["sums"] = (*first, chunk.weights, there, *by, totals, weight_totals, cost)
            run.launch(arguments)
            sums = run.read(totals, np.int64, words * shape.vec), run.read(weight_totals, np.int64, copies * k)
            found.append((*sums, run.read(cost, np.uint64, 2)))

        def made(_: None) -> LloydSums:
            by_feature, weights, costs = zip(*found, strict=True)
            sums = fixed_point.added_up(by_feature, copies, k)[:, :features]
            weight_sums = fixed_point.added_up(weights, copies, k)[:, 0]
            cost = fixed_point.wide_total(costs, exponent)
            return LloydSums(sums / scales[:features], weight_sums / weight_scale, cost)

        return then(run.wait, made)

    def costs(self, data: DeviceRows, centres: Float64) -> Callable[[], NearestCentres]:
        """See Engine."""
        nearest, squared = np.empty(data.rows.rows, np.int32), np.empty(data.rows.rows)
        run = Run(self.stages)
        for chunk, arguments in self._launches(data, centres):
            rows = slice(chunk.span.start, chunk.span.stop)
            costs, indices = run.buffer("costs", 8 * chunk.span.rows), run.buffer("nearest", 4 * chunk.span.rows)
            arguments["distances"] += (np.int32(1), costs, indices)
            run.launch(arguments)
            run.read_into(costs, squared[rows])
            run.read_into(indices, nearest[rows])
        return then(run.wait, lambda _: NearestCentres(nearest, squared))

    def _launches(self, data: DeviceRows, centres: Float64) -> Iterator[tuple[Chunk, dict[str, tuple[Argument, ...]]]]:
        """By chunk, the arguments of all stages but the last, and of the last of these without where answers go."""
        k, features = centres.shape
        beats = self.stages.shape.beats(stride(features))
        groups = np.int32(self.stages.shape.groups(k))
        high = centres.astype(np.float32)
        low = (centres - high).astype(np.float32)
        # of each group and beat first the high parts, then the low ones
        pairs = np.stack([self.stages.by_group(part) for part in (high, low)], axis=2)
        pairs_there = constant(self.stages.queue, pairs)
        padded = np.zeros((k, stride(features)))
        padded[:, :features] = centres
        centres_there = constant(self.stages.queue, self.stages.by_feature(padded))
        # Differences are right to 4 units, their squares to 9; each addition of the trees and of the ring adds one. Two
        # distances are compared, whose difference is rounded, too.
        ring = self.stages.defines["RING"]
        additions = self.stages.shape.vec.bit_length() + ring.bit_length() + -(-beats // ring)
        rounding, tiny = np.float32(2 * (12 + additions) * _UNIT), np.float32(stride(features) * _TINY)
        for chunk in data:
            first = sizes(chunk, beats)
            yield (
                chunk,
                {
                    "rows": (*first, groups, chunk.values),
                    "scores": (*first, groups, np.int32(k), pairs_there, rounding, tiny),
                    "distances": (*first, np.int32(k), centres_there),
                },
            )

    def _most_cost(self, centres: Float64) -> float:
        """No cost is more: the distance to the nearest centre is no more than that to the one nearest to 0."""
        least = float((centres**2).sum(axis=1).min())
        return 2.0 * (float(self.ranges.square_totals.sum()) + self.ranges.weight * least)
