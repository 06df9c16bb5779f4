"""The network kernels with the instructions that this machine's processor lacks spelled out in plain OpenCL C.

So that the tiers for processors with VNNI are tested on those without it, all but the instruction itself.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from spark_accel.daemon import kernels

_PLAIN = """
int{lanes} plain_dot(int{lanes} sums, int{lanes} inputs, int{lanes} weights)
{{
    for (int byte = 0; byte < 4; byte++)
        sums += ((inputs >> (8 * byte)) & 255) * ((weights << (24 - 8 * byte)) >> 24);
    return sums;
}}
int{lanes} plain_dot_shorts(int{lanes} sums, int{lanes} a, int{lanes} b)
{{
    return sums + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
}}
int{lanes} plain_round(float{lanes} values) {{ return convert_int{lanes}_rte(values); }}
typedef short plain_shorts __attribute__((ext_vector_type(2 * {lanes})));
plain_shorts plain_shorts_of(int{lanes} low, int{lanes} high)
{{
    plain_shorts result;
    for (int i = 0; i < {lanes}; i++) {{
        result[i / 4 * 8 + i % 4] = convert_short_sat(low[i]);
        result[i / 4 * 8 + 4 + i % 4] = convert_short_sat(high[i]);
    }}
    return result;
}}
typedef uchar plain_bytes __attribute__((ext_vector_type(4 * {lanes})));
plain_bytes plain_bytes_of(plain_shorts low, plain_shorts high)
{{
    plain_bytes result;
    for (int i = 0; i < 2 * {lanes}; i++) {{
        result[i / 8 * 16 + i % 8] = convert_uchar_sat(low[i]);
        result[i / 8 * 16 + 8 + i % 8] = convert_uchar_sat(high[i]);
    }}
    return result;
}}
"""
_REPLACED = {
    '"avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"': '"avx2,fma"',
    '"avx2,fma,avxvnni"': '"avx2,fma"',
    "__builtin_ia32_vpdpbusd512(": "plain_dot(",
    "__builtin_ia32_vpdpbusd256(": "plain_dot(",
    "__builtin_ia32_vpdpwssd512(": "plain_dot_shorts(",
    "__builtin_ia32_vpdpwssd256(": "plain_dot_shorts(",
    "__builtin_ia32_cvtps2dq512_mask(values, (intv)(0), 65535, 4)": "plain_round(values)",
    "__builtin_ia32_cvtps2dq256(values)": "plain_round(values)",
    "__builtin_ia32_packssdw512(": "plain_shorts_of(",
    "__builtin_ia32_packssdw256(": "plain_shorts_of(",
    "__builtin_ia32_packuswb512(": "plain_bytes_of(",
    "__builtin_ia32_packuswb256(": "plain_bytes_of(",
}


def write(folder: Path) -> None:
    """A folder of kernels, as `kernels.folder()` is one, whose tiers need no more than AVX2."""
    family = folder / "network"
    shutil.copytree(kernels.folder() / "network", family)
    manifest = json.loads((family / "manifest.json").read_text())
    tiers_by_name = {tier.name: tier for tier in kernels.tiers(family)}
    for tier in manifest["tiers"]:
        if "vnni" in tier["name"]:
            tier["requires"]["cpu_flags"] = ["avx2", "fma"]
            source = family / tier["file"]
            text = replace(tiers_by_name[tier["name"]], source=source).text()  # with all that it includes
            for instruction, plain in _REPLACED.items():
                text = text.replace(instruction, plain)
            assert "__builtin_ia32_vp" not in text
            source.write_text(_PLAIN.format(lanes=tier["defines"]["LANES"]) + text)
    (family / "manifest.json").write_text(json.dumps(manifest))
