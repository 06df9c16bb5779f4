"""What tests run on the emulator: the estimators' engine for FPGAs, in any shape. See `emulator.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
from partitions import Partition

from spark_accel.daemon import devices, fpga_estimators, kernels, opencl_rows
from spark_accel.daemon.estimator_kernels import FAMILIES
from spark_accel.daemon.fpga_estimators import FpgaEngine

DEVICE = "fpga-emulator-0"


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


def kind(tier: str) -> str:
    """The class of the engine that a worker with the setting `kernels` has."""
    return type(fpga_estimators.engine(devices.open_device(DEVICE), tier)).__name__


@cache
def _engine(defines: tuple[tuple[str, int], ...]) -> FpgaEngine:
    tiers = []
    for family in FAMILIES:
        (found,) = (one for one in kernels.tiers(kernels.folder() / family) if one.name == fpga_estimators.TIER)
        tiers.append(replace(found, defines={**found.defines, **dict(defines)}))
    return FpgaEngine(devices.open_device(DEVICE), tiers)
