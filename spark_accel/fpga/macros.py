"""The macros that the kernels for FPGAs are built with: which there are, and which values go together.

The compiler says the same (`#error` in `kernels/network/fpga_program.h` and `kernels/estimators/fpga_*.h`), but only of
source: what is known of a bitstream is checked here.
"""

from collections.abc import Mapping

from spark_accel.daemon import kernels
from spark_accel.estimators.rows import STRIDE

_MOST = 2**31 - 1
_MOST_OF = dict.fromkeys(("VEC", "LANES", "PIX", "COPIES"), 1024)  # the host makes its tensors larger by them
_MOST_LANES = 16  # of the estimators: OpenCL C has no longer vectors


def tiers() -> dict[str, kernels.Tier]:
    """By family of kernels, its tier for FPGAs with the manifest's macros."""
    families = [path.parent for path in sorted(kernels.folder().glob("*/manifest.json"))]
    return {path.name: tier for path in families for tier in kernels.tiers(path) if tier.name == kernels.BITSTREAMS}


def problem(family: str, defines: Mapping[str, int]) -> str:
    """Why a family's kernels, which have all of these macros, can't be built with them; empty if they can."""
    for name, value in defines.items():
        most = _MOST_OF.get(name, _MOST)
        if type(value) is not int or not 0 < value <= most:  # True is an int, and no macro
            return f"macro {name} is {value!r}, expected a number from 1 to {most}"
    return _of_network(defines) if family == "network" else _of_estimators(defines)


def _of_network(defines: Mapping[str, int]) -> str:
    vec, lanes, pix, drain = (defines[name] for name in ("VEC", "LANES", "PIX", "DRAIN"))
    if lanes % vec:
        return f"LANES ({lanes}) must be a multiple of VEC ({vec})"
    if drain > pix:
        return f"DRAIN ({drain}) must be at most PIX ({pix})"
    least = 2 * -(-pix // drain)
    if defines["IN_FLIGHT"] < least:
        return (
            f"IN_FLIGHT ({defines['IN_FLIGHT']}) must be {least} or more, or all stages wait for ever: two segments,"
            f" each PIX ({pix}) / DRAIN ({drain}) messages"
        )
    return ""


def _of_estimators(defines: Mapping[str, int]) -> str:
    vec, features = defines["VEC"], defines["FEATURES"]
    if STRIDE % vec:
        return f"VEC ({vec}) must divide {STRIDE}, a multiple of which rows are filled up to"
    lanes = defines.get("LANES", _MOST_LANES)
    if lanes == 1 or _MOST_LANES % lanes:
        return f"LANES ({lanes}) must be 2, 4, 8 or 16, as long as OpenCL C's vectors"
    depth = defines.get("DEPTH", features)
    if depth < features // vec:
        return f"a channel must hold a whole row: DEPTH ({depth}) is less than FEATURES ({features}) / VEC ({vec})"
    return ""
