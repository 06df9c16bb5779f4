"""What a tier of the network's kernels could reach at most: its own multiplications, in registers."""

import numpy as np
import pyopencl as cl

from spark_accel.bench.kernel_limits import least_seconds
from spark_accel.daemon import kernels, quiet_build

_ROUNDS = 10_000_000  # some 100 ms: the kernel's clock of busy threads is some milliseconds off
_SUMS = 12
_BYTES_A_WORD = 4
_SOURCE = """
INNER void dots(__global int *x, int rounds)
{
    intv sums[12];
    #pragma unroll
    for (int i = 0; i < 12; i++)
        sums[i] = ((__global intv *)x)[i];
    intv a = ((__global intv *)x)[12];
    const intv b = ((__global intv *)x)[13];
    for (int k = 0; k < rounds; k++)
        #pragma unroll
        for (int i = 0; i < 12; i++) {
            __asm__ volatile("" : "+x"(a));  // as if it were another one, so that each product is computed
            sums[i] = DOT(sums[i], a, b);
        }
    #pragma unroll
    for (int i = 0; i < 12; i++)
        ((__global intv *)x)[i] = sums[i];
}
__kernel void limit(__global int *x, int rounds)
{
    dots(x + get_global_id(0) * 1024, rounds);
}
"""


def multiplications_a_second(device: cl.Device, tier_name: str) -> float | None:
    """Multiplications with an addition a second on all units of the device; None for a tier without a DOT."""
    tier = next(one for one in kernels.tiers(kernels.folder() / "network") if one.name == tier_name)
    if "#define DOT" not in tier.text():
        return None
    context = cl.Context([device])
    queue = cl.CommandQueue(context)
    program = quiet_build.build(cl.Program(context, tier.text() + _SOURCE), tier.build_options())
    kernel = cl.Kernel(program, "limit")
    items = 4 * device.max_compute_units
    data = cl.Buffer(
        context, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=np.ones(1024 * items, np.int32)
    )

    def multiply() -> None:
        kernel(queue, (items,), (1,), data, np.int32(_ROUNDS))
        queue.finish()

    done = items * _ROUNDS * _SUMS * tier.defines["LANES"] * _BYTES_A_WORD
    return done / least_seconds(multiply, device)[1]
