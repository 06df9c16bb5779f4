"""The estimators' kernels on an FPGA: `FpgaEngine`, one of the engines that `estimators/sums.py` defines.

It gives dense float32 partitions to the stages of the tier `fpga` (docs/fpga-engine.md). What these can't take, or not
as exactly as other tiers, the portable kernels compute on the same device, if that can compile them: sparse and float64
rows, more sets than fit on the chip, numbers that have no fixed point.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyopencl as cl

from spark_accel.daemon import fpga_kmeans, fpga_logistic, fpga_naive_bayes, kernels
from spark_accel.daemon.board_program import reloaded, reloaded_kernels
from spark_accel.daemon.devices import properties
from spark_accel.daemon.estimator_kernels import FAMILIES
from spark_accel.daemon.fpga_kmeans import EngineKMeans
from spark_accel.daemon.fpga_logistic import EngineLogistic
from spark_accel.daemon.fpga_naive_bayes import EngineNaiveBayes
from spark_accel.daemon.fpga_stages import Stages
from spark_accel.daemon.opencl_estimators import OpenCLEngine, check_sets
from spark_accel.daemon.opencl_program import Program
from spark_accel.daemon.opencl_rows import DeviceRows
from spark_accel.estimators.rows import Rows
from spark_accel.estimators.sums import ClassSums, Float64, Found, LloydSums, LogisticSums, NearestCentres, then
from spark_accel.fpga.fixed_point import Ranges, ranges

TIER, OTHERWISE = kernels.BITSTREAMS, "portable"
_STAGES = {"kmeans": fpga_kmeans.STAGES, "logistic": fpga_logistic.STAGES, "naive_bayes": fpga_naive_bayes.STAGES}


class _Taken(NamedTuple):
    """A bitstream, in the engine's context."""

    tier: kernels.Tier
    program: cl.Program


class FpgaEngine(OpenCLEngine):
    """See Engine. Not for several threads at once, save `take` and `check`. `tiers` are the families', by default the
    manifests'.

    Raises kernels.KernelError where the device suits no tier. Stages are built when a family is first used. `trips` are
    the iterations that each stage made for the last answer; none where the portable kernels gave it.
    """

    def __init__(self, device: cl.Device, tiers: Sequence[kernels.Tier] | None = None) -> None:
        has = properties(device)
        self._compiles = has.compiler
        super().__init__(device, OTHERWISE, FAMILIES if has.compiler else ())
        chosen = tiers or [kernels.choose(family, TIER, has) for family in FAMILIES]
        self._tiers = {tier.source.parent.name: tier for tier in chosen}
        self._taken: dict[str, _Taken] = {}  # by family, the latest
        self._stages: dict[str, tuple[_Taken | None, Stages]] = {}  # by family, with what they were made of
        self._ranges: weakref.WeakKeyDictionary[DeviceRows, Ranges] = weakref.WeakKeyDictionary()
        self.trips: Mapping[str, int] = {}

    def take(self, family: str, tier: kernels.Tier, program: cl.Program) -> None:
        """Has a family run on a bitstream from now on; what is under way ends on what it has begun on."""
        self._taken[family] = _Taken(tier, reloaded(program, self._context))

    def check(self, family: str, double: bool = False) -> None:
        """Raises kernels.KernelError where a family can't run here, on float64 rows if `double`: the device can compile
        nothing, and has no bitstream."""
        if self._compiles:
            return
        if double:
            raise kernels.KernelError(
                f"{self._compiles_nothing}, and bitstreams of '{family}' take float32 rows: use another device"
            )
        if family not in self._taken:
            raise kernels.KernelError(
                f"{self._compiles_nothing}, and no bitstream of the kernels of '{family}' is loaded: `spark-accel"
                f" kernels build --family {family}` makes one, load its model first"
            )

    def activate(self, family: str) -> None:
        """Gives the board a family's program."""
        before = self._stages.get(family)
        stages = self._of(family)
        if before is not None and stages is before[1]:  # others the board has just been given
            stages.activate()

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
        """The stages of a family's latest bitstream, whose macros are those of its record, or of its source."""
        taken = self._taken.get(family)
        made_of, stages = self._stages.get(family, (None, None))
        if stages is None or made_of is not taken:
            self.check(family)
            tier = self._tiers[family] if taken is None else taken.tier
            program = None if taken is None else reloaded_kernels(taken.program, self._context, tier.defines)
            stages = Stages(self._queue, self._kept, tier, _STAGES[family], program=program)
            self._stages[family] = taken, stages
        return stages

    @property
    def _compiles_nothing(self) -> str:
        return f"device '{self._queue.device.name.strip()}' compiles nothing"

    def _program(self, family: str, data: DeviceRows) -> Program:
        if not self._compiles:
            raise kernels.KernelError(
                f"{self._compiles_nothing}, and its stages of '{family}' can't take this partition or request:"
                " docs/fpga-engine.md says which they take; use another device for others"
            )
        return super()._program(family, data)

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
