"""What the estimators' stages for FPGAs answer on the emulator, and what is right; for their tests."""

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import emulated_estimators
import pytest
from emulated_estimators import Asked
from kernel_cases import REFERENCE
from partitions import Partition

from spark_accel.daemon import fpga_estimators, kernels
from spark_accel.fpga.estimator_trips import Shape

SHAPES: list[dict[str, int]] = [{}, {"VEC": 4, "LANES": 2, "FEATURES": 128, "COPIES": 11, "RING": 4}]
each_shape = pytest.mark.parametrize("defines", SHAPES, ids=str)


def answer(
    emulator: ProcessPoolExecutor,
    data: Partition,
    method: str,
    *arguments: Any,  # noqa: ANN401
    **how: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """What the engine answers, stages or not."""
    found, _ = run(emulator, data, method, *arguments, **how)
    return found


def on_stages(
    emulator: ProcessPoolExecutor,
    data: Partition,
    method: str,
    *arguments: Any,  # noqa: ANN401
    **how: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """What the stages answer; fails where they declined."""
    found, trips = run(emulator, data, method, *arguments, **how)
    assert trips, "the portable kernels answered"
    return found


def run(
    emulator: ProcessPoolExecutor,
    data: Partition,
    method: str,
    *arguments: Any,  # noqa: ANN401
    defines: Mapping[str, int] | None = None,
    **how: Any,  # noqa: ANN401
) -> tuple[Any, Mapping[str, int]]:
    asked = Asked(method, arguments, defines or {}, **how)
    return emulator.submit(emulated_estimators.answer, data, asked).result()


def expected(data: Partition, method: str, *arguments: Any) -> Any:  # noqa: ANN401
    return getattr(REFERENCE, method)(REFERENCE.load(data.as_rows(), True), *arguments)()


def shape_of(family: str, defines: dict[str, int]) -> Shape:
    (tier,) = (one for one in kernels.tiers(kernels.folder() / family) if one.name == fpga_estimators.TIER)
    return Shape.of(family, {**tier.defines, **defines})
