"""What a measurement was made on: processor, cores, versions, commit."""

import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from spark_accel import __version__
from spark_accel.daemon import pocl_processor

_FLAGS = ("avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "amx_int8", "amx_bf16")
_PACKAGES = (
    "numpy", "pyopencl", "pocl-binary-distribution", "pyspark", "openvino", "nncf", "onnxruntime", "tensorflow",
    "scikit-learn", "tritonclient", "pillow",
)  # fmt: skip


def facts(threads: int) -> dict[str, Any]:
    """The machine, how many others used its cores just before (the load of the last minute), versions of what takes
    part, the commit (empty outside of a checkout, and without git), and when."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="minutes"),
        "commit": _commit(),
        "processor": _processor(),
        "flags": [flag for flag in _FLAGS if flag in pocl_processor.cpu_flags()],
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads,
        "load": round(os.getloadavg()[0], 1),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",  # without a distribution's own marks
        "versions": {"spark-accel": __version__, "python": platform.python_version()} | _versions(),
    }


def has_vnni() -> bool:
    """Whether the processor multiplies bytes into 32 bits without saturation in between."""
    return bool(pocl_processor.cpu_flags() & {"avx_vnni", "avx512_vnni"})


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return ""
    try:
        head, changed = (
            subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S607
            for command in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except OSError:  # a machine without git
        return ""
    return f"{head} with changes" if changed else head
