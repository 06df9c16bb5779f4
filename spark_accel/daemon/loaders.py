"""Groups of OpenCL drivers that can't live in one process: each is found, and driven, by processes of its own.

Besides what the system offers there is Intel's FPGA emulator, from the extra `fpga`: it brings an OpenCL loader and
libraries that clash with others. `CL_CONFIG_CPU_EMULATE_DEVICES=4` makes it four boards.
"""

import os
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from spark_accel import endpoint, folders
from spark_accel.errors import ConfigurationError

SYSTEM, EMULATOR = "", "fpga-emulator"
_DISTRIBUTION, _DRIVER = "intel-opencl-fpga-emu-rt", "libintelocl_emu.so"
_VENDORS = "OCL_ICD_VENDORS"
_POCL_CACHE = "POCL_CACHE_DIR"


def names() -> tuple[str, ...]:
    """The groups of this installation."""
    return (SYSTEM,) if _driver() is None else (SYSTEM, EMULATOR)


def current() -> str:
    """The group of this process."""
    driver = _driver()
    return EMULATOR if driver is not None and os.environ.get(_VENDORS) == str(driver) else SYSTEM


def environment(name: str) -> Mapping[str, str]:
    """What a process of this group needs in its environment."""
    driver = _driver()
    if name == SYSTEM or driver is None:
        return _pocl_cache()
    folders = [str(driver.parent), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    # Its kernels run in threads that wait for each other: there must be one for each of a program's stages.
    workers = {"CL_CONFIG_CPU_TBB_NUM_WORKERS": os.environ.get("CL_CONFIG_CPU_TBB_NUM_WORKERS", "8")}
    return {_VENDORS: str(driver), "LD_LIBRARY_PATH": ":".join(folders), **workers}


def process_environment(name: str) -> dict[str, str]:
    """The whole environment of a process of this group."""
    return {**os.environ, **environment(name)}


def _pocl_cache() -> Mapping[str, str]:
    """A cache for PoCL, which offers no device without one, beside the daemon's usual socket, where it can't write its
    own: a container's user may have no home."""
    base = os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME", "/tmp"), ".cache")  # noqa: S108 - PoCL's own
    if _POCL_CACHE in os.environ or not folders.obstacle(Path(base)):
        return {}
    folder = Path(tempfile.gettempdir(), f"spark-accel-{os.getuid()}")
    try:
        endpoint.prepare(folder / "daemon.sock")  # nobody else's: PoCL runs what it finds in its cache
    except ConfigurationError:
        return {}
    return {_POCL_CACHE: str(folder / "pocl")}


def _driver() -> Path | None:
    try:
        files = metadata.distribution(_DISTRIBUTION).files or []
    except metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())).resolve() for file in files if file.name == _DRIVER), None)
