"""The files of a user's kernel in its version's folder, by what takes them; the most specific ones first."""

from collections.abc import Mapping, Sequence

BINARIES: Mapping[str, Sequence[str]] = {
    "fpga": ("fpga.aocx", "fpga.bin"),
    "gpu": ("gpu.bin",),
    "cpu": ("cpu.bin",),
}
"""Binaries by kind of device."""
CHANNEL_SOURCE = "fpga.cl"  # OpenCL C with Intel's channels
SOURCE = "portable.cl"
ALL = (*(name for names in BINARIES.values() for name in names), CHANNEL_SOURCE, SOURCE)
