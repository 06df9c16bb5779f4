"""What tests run on the emulator: the estimators' engine for FPGAs, in any shape. See `emulator.py`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pyopencl as cl
import pytest
from partitions import Partition

from spark_accel.daemon import devices, fpga_estimators, kernels, opencl_rows, quiet_build
from spark_accel.daemon.estimator_kernels import FAMILIES
from spark_accel.daemon.fpga_estimators import FpgaEngine

DEVICE = "fpga-emulator-0"
METHODS = {
    "kmeans": ("lloyd", "costs"),
    "logistic": ("binomial", "multinomial"),
    "naive_bayes": ("class_sums",),
}


@dataclass(frozen=True)
class Asked:
    """A method of the engine, what it is given besides the data, how the engine is built and the data loaded."""

    method: str
    arguments: tuple[Any, ...]
    defines: Mapping[str, int]
    resident: bool = True
    streamed_bytes: int | None = None  # of a chunk of rows that are not resident


def answer(data: Partition, asked: Asked) -> tuple[Any, Mapping[str, int]]:
    """What the engine answers, and the iterations of its stages: none where the portable kernels computed it."""
    engine = _engine(tuple(sorted(asked.defines.items())))
    with pytest.MonkeyPatch.context() as patch:
        if asked.streamed_bytes is not None:
            patch.setattr(opencl_rows, "_STREAMED_BYTES", asked.streamed_bytes)
        loaded = engine.load(data.as_rows(), asked.resident)
        found = getattr(engine, asked.method)(loaded, *asked.arguments)()
    return found, engine.trips


def both(data: Partition, one: Asked, other: Asked) -> tuple[Any, Any]:
    """Two calls that are begun before the first is waited for, with the same engine and data."""
    engine = _engine(tuple(sorted(one.defines.items())))
    loaded = engine.load(data.as_rows(), True)
    waits = [getattr(engine, asked.method)(loaded, *asked.arguments) for asked in (one, other)]
    first, second = (wait() for wait in waits)
    return first, second


def on_bitstream(data: Partition, asked: Asked, family: str, recorded: Mapping[str, int]) -> Any:  # noqa: ANN401
    """What an engine answers that has computed the same on other stages, and is then given a bitstream: one that was
    built with the macros of `asked`, and is said to have been with `recorded`."""
    engine = FpgaEngine(devices.open_device(DEVICE))
    loaded = engine.load(data.as_rows(), asked.resident)
    engine.activate(family)
    getattr(engine, asked.method)(loaded, *asked.arguments)()
    engine.take(family, _tier(family, recorded), _built(_tier(family, asked.defines)))
    return getattr(engine, asked.method)(loaded, *asked.arguments)()


def without_a_compiler(data: Partition, asked: Asked, families: Sequence[str]) -> tuple[Any, Mapping[str, int]]:
    """As `answer`, of a device that compiles nothing, but has bitstreams of `families`; all that is asked of it must be
    their work."""
    device = devices.open_device(DEVICE)
    has = replace(devices.properties(device), compiler=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fpga_estimators, "properties", lambda _: has)
        engine = FpgaEngine(device)
    for family in families:
        tier = _tier(family, asked.defines)
        engine.take(family, tier, _built(tier))
    for family in FAMILIES:
        if asked.method in METHODS[family]:
            engine.check(family, double=data.columns["values"].dtype == np.float64)
    loaded = engine.load(data.as_rows(), asked.resident)
    found = getattr(engine, asked.method)(loaded, *asked.arguments)()
    return found, engine.trips


def kind(tier: str) -> str:
    """The class of the engine that a worker with the setting `kernels` has."""
    return type(fpga_estimators.engine(devices.open_device(DEVICE), tier)).__name__


@cache
def _engine(defines: tuple[tuple[str, int], ...]) -> FpgaEngine:
    return FpgaEngine(devices.open_device(DEVICE), [_tier(family, dict(defines)) for family in FAMILIES])


def _tier(family: str, defines: Mapping[str, int]) -> kernels.Tier:
    (found,) = (one for one in kernels.tiers(kernels.folder() / family) if one.name == fpga_estimators.TIER)
    return replace(found, defines={**found.defines, **defines})


def _built(tier: kernels.Tier) -> cl.Program:
    context = cl.Context([devices.open_device(DEVICE)])
    return quiet_build.build(cl.Program(context, tier.text()), tier.build_options())
