"""Finds the OpenCL kernels: reads the manifest of a kernel family and picks the tier that suits a device.

A family is a folder `kernels/NAME` with a `manifest.json` and a source file a tier. The manifest lists the tiers, the
most specific first; the first one whose requirements a device meets is taken. What is compiled and run is up to
`opencl_*.py`; this file knows no OpenCL.

A source may have lines `#include "PATH"`, relative to itself: they are resolved here, so that no compiler needs to find
or be told folders.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spark_accel import settings
from spark_accel.errors import AccelError

BITSTREAMS = "fpga"  # the tier
MACROS = "told_macros"  # the kernel
_PACKAGE = Path(__file__).resolve().parents[1]
_INCLUDE = re.compile(r'^#include "([^"]+)"$', re.MULTILINE)
_FOLDERS = (_PACKAGE / "kernels", _PACKAGE.parent / "kernels")  # of a wheel, of a checkout


class KernelError(AccelError):
    """The kernels are not there, their manifest can't be used, or no tier suits the device."""


@dataclass(frozen=True)
class Properties:
    """What a tier may require and a device has; names as in the OpenCL specification.

    `opencl_c`: version of OpenCL C; `compiler`: whether source can be built; `floating_point`: capabilities of
    single precision; `extensions`: of the device; `cpu_flags`: of the processor, as Linux names them, for devices that
    are one; `target_attribute`: whether the compiler takes functions for other processors than it thinks there is.
    """

    opencl_c: tuple[int, int] = (1, 0)
    compiler: bool = False
    floating_point: frozenset[str] = frozenset()
    extensions: frozenset[str] = frozenset()
    cpu_flags: frozenset[str] = frozenset()
    target_attribute: bool = False

    def lacks(self, required: "Properties") -> list[str]:
        """What of `required` is missing, in words; empty if nothing is."""
        missing = sorted(
            (required.floating_point - self.floating_point)
            | (required.extensions - self.extensions)
            | (required.cpu_flags - self.cpu_flags)
        )
        if self.opencl_c < required.opencl_c:
            missing.append("OpenCL C {}.{}".format(*required.opencl_c))
        if required.compiler and not self.compiler:
            missing.append("a compiler")
        if required.target_attribute and not self.target_attribute:
            missing.append("a compiler with the attribute 'target'")
        return missing


@dataclass(frozen=True)
class Tier:
    """One implementation of a kernel family.

    `defines` are the macros that the source is built with, and that the host counts work items and packs tensors with;
    `layouts` says how each tensor lies in device memory.
    """

    name: str
    source: Path
    requires: Properties
    defines: Mapping[str, int]
    layouts: Mapping[str, str]

    def build_options(self) -> list[str]:
        """What the OpenCL compiler is given."""
        return ["-cl-std=CL1.2", *(f"-D{name}={value}" for name, value in self.defines.items())]

    def text(self) -> str:
        """The source with what it includes; raises KernelError for a file that can't be read.

        That of bitstreams has a kernel more, which tells the macros, in the order of their names.
        """
        text = _text(self.source)
        if self.name != BITSTREAMS:
            return text
        told = " ".join(f"values[{index}] = {name};" for index, name in enumerate(sorted(self.defines)))
        return f"{text}\nSTAGE void {MACROS}(__global int *restrict values) {{ {told} }}\n"


def folder() -> Path:
    """The folder of the kernel families; raises KernelError if the installation has none."""
    for path in _FOLDERS:
        if path.is_dir():
            return path
    raise KernelError(f"no kernels in {' or '.join(map(str, _FOLDERS))}: install spark-accel again")


def tiers(family: Path) -> tuple[Tier, ...]:
    """The tiers of the family in this folder, most specific first; raises KernelError, naming the manifest."""
    path = family / "manifest.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["tiers"]
        return tuple(
            Tier(row["name"], family / row["file"], _properties(row["requires"]), row["defines"], row["layouts"])
            for row in rows
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KernelError(f"{path} is no manifest of kernels: {type(error).__name__}: {error}") from error


def choose(family: str, wanted: str, properties: Properties) -> Tier:
    """The tier of a family that a device with these properties runs; raises KernelError. `wanted` as in `suitable`."""
    return suitable(family, wanted, properties)[0]


def suitable(family: str, wanted: str, properties: Properties) -> list[Tier]:
    """The tiers of a family that such a device can run, the most specific first; raises KernelError if there is none.

    `wanted` is the setting `kernels`: `auto`, the name of a tier, or what several names begin with (`x86`).
    """
    known = tiers(folder() / family)
    named = [tier for tier in known if tier.name == wanted or tier.name.startswith(f"{wanted}-")]
    (setting,) = (row for row in settings.table() if row.key == "kernels")
    if not named and wanted not in setting.choices:
        raise KernelError(f"no kernels for this device: there is no tier '{wanted}', only {', '.join(setting.choices)}")
    return select(named or known, properties)


def select(tiers: Sequence[Tier], properties: Properties) -> list[Tier]:
    """Those tiers that a device with these properties takes; raises KernelError with what each one misses."""
    found = [tier for tier in tiers if not properties.lacks(tier.requires)]
    if found:
        return found
    reasons = (f"'{tier.name}' needs {', '.join(properties.lacks(tier.requires))}" for tier in tiers)
    raise KernelError(f"no kernels for this device: {_joined(reasons)}")


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise KernelError(f"{path} can't be read: {error}; install spark-accel again") from error
    return _INCLUDE.sub(lambda line: _text(path.parent / line[1]), text)


def _joined(reasons: Iterable[str]) -> str:
    return "; ".join(reasons) or "the manifest has no tiers"


def _properties(row: Mapping[str, Any]) -> Properties:
    values = dict(row)
    if "opencl_c" in values:
        major, minor = values["opencl_c"].split(".")
        values["opencl_c"] = (int(major), int(minor))
    for name in ("floating_point", "extensions", "cpu_flags"):
        if name in values:
            values[name] = frozenset(values[name])
    return Properties(**values)
