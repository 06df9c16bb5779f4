"""Lets PoCL 3.0 compile on processors that are younger than it.

PoCL 3.0 (the release that `pyopencl[pocl]` brings) asks its LLVM 14 for the processor's name. That answers `generic`
for one it doesn't know, AMD's Zen 5 for instance, and clang then refuses to compile for a processor of this name: the
device is there, but no kernel can be built. No option overrides the name. So it is corrected where PoCL keeps it, in
the device's own record, to one that clang knows and whose instructions the processor has. Nothing is done where
kernels can be built; where this can't help, building a kernel fails as before.
"""

import ctypes
import logging
import os
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyopencl as cl

_log = logging.getLogger(__name__)

_REFUSED = "unknown target CPU 'generic'"
_UNKNOWN = b"generic\0"
_RECORD_BYTES = 4096  # of PoCL's record of a device, whose names of processors lie in memory of their own
_AVX2 = {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe", "abm", "popcnt"}  # what code for Intel's Haswell may use


def let_it_compile(device: "cl.Device") -> None:
    """Corrects the processor's name if this is a device of PoCL that can't build for want of a known one."""
    import pyopencl as cl  # noqa: PLC0415

    if not device.type & cl.device_type.CPU or "PoCL" not in device.platform.version:
        return
    try:
        build(device, "__kernel void nothing(void) {}")
    except cl.Error as error:
        if _REFUSED not in str(error):
            return
        name = b"haswell\0" if cpu_flags() >= _AVX2 else b"x86-64\0"
        for address in _addresses_of_the_name(device.int_ptr):
            ctypes.memmove(address, name, len(name))  # not longer than what was there
            _log.info("PoCL doesn't know this processor; it compiles for %s", name[:-1].decode())


def build(device: "cl.Device", source: str) -> None:
    """Compiles and links OpenCL C for a device; raises cl.Error."""
    import pyopencl as cl  # noqa: PLC0415

    from spark_accel.daemon import quiet_build  # noqa: PLC0415 - it imports pyopencl

    quiet_build.build(cl.Program(cl.Context([device]), source))


def cpu_flags() -> frozenset[str]:
    """What all processors of this machine can, in Linux's words; nothing on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    flags = [frozenset(line.split()) for line in re.findall(r"^flags\s*:(.*)$", text, re.MULTILINE)]
    return frozenset.intersection(*flags) if flags else frozenset()


def _addresses_of_the_name(record: int) -> list[int]:
    """Where the record points at the text `generic`. Read through the kernel, which refuses what is no address."""
    with Path("/proc/self/mem").open("rb", buffering=0) as memory:
        pointers = [pointer for (pointer,) in struct.iter_unpack("<Q", _read(memory.fileno(), record, _RECORD_BYTES))]
        return [pointer for pointer in pointers if _read(memory.fileno(), pointer, len(_UNKNOWN)) == _UNKNOWN]


def _read(memory: int, address: int, size: int) -> bytes:
    try:
        return os.pread(memory, size, address)
    except (OSError, OverflowError):
        return b""
