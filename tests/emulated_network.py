"""What tests run on the emulator: networks on the FPGA's engine, in any shape. See `emulator.py`."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy.typing as npt
import pyopencl as cl

from spark_accel.daemon import devices, kernels
from spark_accel.daemon.opencl_engine import EngineCalls
from spark_accel.daemon.opencl_network import OpenCLNetwork
from spark_accel.daemon.opencl_network_memory import NetworkMemory
from spark_accel.networks.plan import Float32, Plan, UInt8

DEVICE = "fpga-emulator-0"


def engine(plan: Plan, images: UInt8, max_batch: int, defines: dict[str, int]) -> tuple[Float32, npt.NDArray[Any]]:
    """The logits of `images`, and the trips that were counted, by step; `defines` differ from the manifest's."""
    context, tier, program = _built(tuple(sorted(defines.items())))
    made = EngineCalls(plan, tier, program, NetworkMemory(cl.CommandQueue(context)), max_batch)
    made.images[: len(images)] = images
    return made.begin(len(images)).result(), made.trips


def under_way(plan: Plan, batches: Sequence[UInt8], defines: dict[str, int]) -> list[Float32]:
    """The logits of batches that are all begun before the first is waited for."""
    context, tier, program = _built(tuple(sorted(defines.items())))
    made = EngineCalls(plan, tier, program, NetworkMemory(cl.CommandQueue(context)), max(map(len, batches)))
    begun = []
    for images in batches:
        made.images[: len(images)] = images
        begun.append(made.begin(len(images)))
    return [one.result() for one in begun]


def as_loaded(plan: Plan, images: UInt8, max_batch: int) -> tuple[Float32, str]:
    """The logits of `images` as a worker computes them, and the tier that did."""
    network = OpenCLNetwork(plan, devices.open_device(DEVICE), max_batch)
    return network.run(images), network.tier


def profiled(plan: Plan, images: UInt8) -> list[tuple[str, float]]:
    """The seconds of each layer."""
    network = OpenCLNetwork(plan, devices.open_device(DEVICE), len(images))
    network.run(images)
    return network.profile(len(images))


@cache
def _built(defines: tuple[tuple[str, int], ...]) -> tuple[cl.Context, kernels.Tier, cl.Program]:
    (found,) = (one for one in kernels.tiers(kernels.folder() / "network") if one.name == "fpga")
    tier = replace(found, defines={**found.defines, **dict(defines)})
    context = cl.Context([devices.open_device(DEVICE)])
    program = cl.Program(context, tier.text())
    program.build(options=tier.build_options(), cache_dir=False)  # type: ignore[arg-type]
    return context, tier, program
