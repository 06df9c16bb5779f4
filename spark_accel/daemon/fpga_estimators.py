"""The estimators' kernels on an FPGA: `FpgaEngine`, one of the engines that `estimators/sums.py` defines.

It gives dense float32 partitions to the stages of the tier `fpga` (docs/fpga-engine.md). What these can't take, or not
as exactly as other tiers, the portable kernels compute on the same device: sparse and float64 rows, more sets than fit
on the chip, numbers that have no fixed point.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyopencl as cl

from spark_accel.daemon import fpga_kmeans, fpga_logistic, fpga_naive_bayes, kernels
from spark_accel.daemon.board_program import reloaded
from spark_accel.daemon.devices import properties
from spark_accel.daemon.estimator_kernels import FAMILIES
from spark_accel.daemon.fpga_kmeans import EngineKMeans
from spark_accel.daemon.fpga_logistic import EngineLogistic
from spark_accel.daemon.fpga_naive_bayes import EngineNaiveBayes
from spark_accel.daemon.fpga_stages import Stages
from spark_accel.daemon.opencl_estimators import OpenCLEngine, check_sets
from spark_accel.daemon.opencl_rows import DeviceRows
from spark_accel.estimators.rows import Rows
from spark_accel.estimators.sums import ClassSums, Float64, Found, LloydSums, LogisticSums, NearestCentres, then
from spark_accel.fpga.fixed_point import Ranges, ranges

TIER, OTHERWISE = kernels.BITSTREAMS, "portable"
_STAGES = {"kmeans": fpga_kmeans.STAGES, "logistic": fpga_logistic.STAGES, "naive_bayes": fpga_naive_bayes.STAGES}


class FpgaEngine(OpenCLEngine):
    """See Engine. Not for several threads at once. `tiers` are the families', by default the manifests'.

    Raises kernels.KernelError where the device suits no tier. Stages are built when a family is first used. `trips` are
    the iterations that each stage made for the last answer; none where the portable kernels gave it.
    """

    def __init__(self, device: cl.Device, tiers: Sequence[kernels.Tier] | None = None) -> None:
        super().__init__(device, OTHERWISE)
        chosen = tiers or [kernels.choose(family, TIER, properties(device)) for family in FAMILIES]
        self._tiers = {tier.source.parent.name: tier for tier in chosen}
        self._stages: dict[str, Stages] = {}
        self._programs_of: dict[str, cl.Program] = {}  # by family: of bitstreams
        self._ranges: weakref.WeakKeyDictionary[DeviceRows, Ranges] = weakref.WeakKeyDictionary()
        self.trips: Mapping[str, int] = {}

    def take(self, family: str, tier: kernels.Tier, program: cl.Program) -> None:
        """Has a family run on a bitstream from now on."""
        self._tiers[family] = tier
        self._programs_of[family] = reloaded(program, self._context)
        self._stages.pop(family, None)

    def activate(self, family: str) -> None:
        """Gives the board a family's program."""
        self._of(family).activate()

    def load(self, rows: Rows, resident: bool) -> DeviceRows:
        """See Engine."""
        data = super().load(rows, resident)
        found = ranges(rows)
        if found is not None:
            self._ranges[data] = found
        return data

    def lloyd(self, data: DeviceRows, centres: Float64) -> Callable[[], LloydSums]:
        """See Engine."""
        check_sets(data, centres.shape, "centres")
        found = self._ranges.get(data)
        if found is not None and found.exact:
            engine = EngineKMeans(self._of("kmeans"), found)
            if engine.takes(centres):
                return self._on(engine.stages, data, lambda: engine.lloyd(data, centres))
        return self._declined(super().lloyd(data, centres))

    def costs(self, data: DeviceRows, centres: Float64) -> Callable[[], NearestCentres]:
        """See Engine."""
        check_sets(data, centres.shape, "centres")
        found = self._ranges.get(data)
        if found is not None:
            engine = EngineKMeans(self._of("kmeans"), found)
            if engine.takes(centres):
                return self._on(engine.stages, data, lambda: engine.costs(data, centres))
        return self._declined(super().costs(data, centres))

    def binomial(self, data: DeviceRows, coefficients: Float64, intercept: float) -> Callable[[], LogisticSums]:
        """See Engine."""
        check_sets(data, (1, *coefficients.shape), "coefficients")
        both, intercepts = np.stack([np.zeros_like(coefficients), coefficients]), np.array([0.0, intercept])
        engine = self._logistic_of(data, both, intercepts)
        if engine is None:
            return self._declined(super().binomial(data, coefficients, intercept))

        def of_second(found: LogisticSums) -> LogisticSums:
            return LogisticSums(found.loss, found.gradient[1:], found.multiplier_sums[1:])

        return self._on(engine.stages, data, lambda: then(engine.multinomial(data, both, intercepts), of_second))

    def multinomial(self, data: DeviceRows, coefficients: Float64, intercepts: Float64) -> Callable[[], LogisticSums]:
        """See Engine."""
        check_sets(data, coefficients.shape, "coefficients", len(intercepts))
        engine = self._logistic_of(data, coefficients, intercepts)
        if engine is None:
            return self._declined(super().multinomial(data, coefficients, intercepts))
        return self._on(engine.stages, data, lambda: engine.multinomial(data, coefficients, intercepts))

    def class_sums(self, data: DeviceRows, classes: int, squares: bool) -> Callable[[], ClassSums]:
        """See Engine."""
        found = self._ranges.get(data)
        if found is not None and found.exact and (found.squares_exact or not squares):
            engine = EngineNaiveBayes(self._of("naive_bayes"), found)
            if engine.takes(data.rows.features, classes):
                return self._on(engine.stages, data, lambda: engine.class_sums(data, classes, squares))
        return self._declined(super().class_sums(data, classes, squares))

    def _logistic_of(self, data: DeviceRows, matrix: Float64, intercepts: Float64) -> EngineLogistic | None:
        found = self._ranges.get(data)
        if found is None:
            return None
        engine = EngineLogistic(self._of("logistic"), found)
        return engine if engine.takes(matrix, intercepts) else None

    def _of(self, family: str) -> Stages:
        if family not in self._stages:
            program = self._programs_of.get(family)
            self._stages[family] = Stages(
                self._queue, self._kept, self._tiers[family], _STAGES[family], program=program
            )
        return self._stages[family]

    def _on(self, stages: Stages, data: DeviceRows, begin: Callable[[], Callable[[], Found]]) -> Callable[[], Found]:
        def answered(found: Found) -> Found:
            self.trips = stages.trips
            return found

        return then(self._begun(data, begin), answered)

    def _declined(self, wait: Callable[[], Found]) -> Callable[[], Found]:
        def answered(found: Found) -> Found:
            self.trips = {}
            return found

        return then(wait, answered)


def engine(device: cl.Device, tier: str) -> OpenCLEngine:
    """The engine for a device; `tier` is the setting `kernels`. Raises kernels.KernelError where none suits."""
    if kernels.choose(FAMILIES[0], tier, properties(device)).name == TIER:
        return FpgaEngine(device)
    return OpenCLEngine(device, tier)
