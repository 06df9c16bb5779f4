"""The command lines that make a bitstream: Intel's `aoc`, AMD's `v++`. Nobody has run either for these kernels yet.

Intel: FPGA SDK for OpenCL, Programming Guide 683846 (22.4). AMD: UG1393; OpenCL C kernels up to Vitis 2022.1, pipes
between them only in 2019.2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spark_accel.errors import ConfigurationError

EMULATOR = "emulator"


@dataclass(frozen=True)
class Build:
    """Commands, in order, and the file that the last one makes."""

    commands: tuple[tuple[str, ...], ...]
    artifact: Path


def build(target: str, source: Path, kernels: Sequence[str], defines: Mapping[str, int], clock_mhz: float) -> Build:
    """How `source` is compiled for a target, `intel:BOARD` or `xilinx:PLATFORM`; raises ConfigurationError."""
    vendor, _, where = target.partition(":")
    macros = tuple(f"-D{name}={value}" for name, value in defines.items())
    if vendor == "intel" and where:
        artifact = source.with_suffix(".aocx")
        command = ("aoc", f"-board={where}", "-report", *macros, str(source), "-o", str(artifact))
        return Build((command,), artifact)
    if vendor == "xilinx" and where:
        clock = ("--kernel_frequency", f"{clock_mhz:g}") if clock_mhz else ()
        objects = {kernel: source.with_name(f"{kernel}.xo") for kernel in kernels}
        compiles = tuple(
            ("v++", "-t", "hw", "--platform", where, "-c", "-k", kernel, *macros, str(source), "-o", str(path))
            for kernel, path in objects.items()
        )
        artifact = source.with_suffix(".xclbin")
        paths = map(str, objects.values())
        link = ("v++", "-t", "hw", "--platform", where, *clock, "--link", *paths, "-o", str(artifact))
        return Build((*compiles, link), artifact)
    raise ConfigurationError(f"--target is '{target}': expected {EMULATOR}, intel:BOARD or xilinx:PLATFORM")
