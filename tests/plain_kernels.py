"""The network kernels with the instructions that this machine's processor lacks spelled out in plain OpenCL C.

So that the tiers for processors with VNNI are tested on those without it, all but the instruction itself.
"""

import json
import shutil
from pathlib import Path

from spark_accel.daemon import kernels

_PLAIN = """
int{lanes} plain_dot(int{lanes} sums, int{lanes} inputs, int{lanes} weights)
{{
    for (int byte = 0; byte < 4; byte++)
        sums += ((inputs >> (8 * byte)) & 255) * ((weights << (24 - 8 * byte)) >> 24);
    return sums;
}}
int{lanes} plain_round(float{lanes} values) {{ return convert_int{lanes}_rte(values); }}
"""
_REPLACED = {
    '"avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"': '"avx2,fma"',
    '"avx2,fma,avxvnni"': '"avx2,fma"',
    "__builtin_ia32_vpdpbusd512(": "plain_dot(",
    "__builtin_ia32_vpdpbusd256(": "plain_dot(",
    "__builtin_ia32_cvtps2dq512_mask(values, (intv)(0), 65535, 4)": "plain_round(values)",
    "__builtin_ia32_cvtps2dq256(values)": "plain_round(values)",
}


def write(folder: Path) -> None:
    """A folder of kernels, as `kernels.folder()` is one, whose tiers need no more than AVX2."""
    family = folder / "network"
    shutil.copytree(kernels.folder() / "network", family)
    manifest = json.loads((family / "manifest.json").read_text())
    for tier in manifest["tiers"]:
        if "vnni" in tier["name"]:
            tier["requires"]["cpu_flags"] = ["avx2", "fma"]
            source = family / tier["file"]
            text = source.read_text()
            for instruction, plain in _REPLACED.items():
                text = text.replace(instruction, plain)
            assert "plain_dot" in text
            assert "__builtin_ia32" not in text
            source.write_text(_PLAIN.format(lanes=tier["defines"]["LANES"]) + text)
    (family / "manifest.json").write_text(json.dumps(manifest))
