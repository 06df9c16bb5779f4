"""What a tier of the network's kernels could reach at most: its own multiplications, in registers."""

import time

import numpy as np
import pyopencl as cl

from spark_accel.bench.kernel_limits import least_seconds
from spark_accel.daemon import kernels, quiet_build
from spark_accel.daemon.kernels import Tier

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


class Arithmetic:
    """The multiplications of a tier in registers, on all units of a device: what a network would be that waits for no
    memory."""

    def __init__(self, device: cl.Device, tier: Tier) -> None:
        self._device = device
        context = cl.Context([device])
        self._queue = cl.CommandQueue(context)
        program = quiet_build.build(cl.Program(context, tier.text() + _SOURCE), tier.build_options())
        self._kernel = cl.Kernel(program, "limit")
        self._items = 4 * device.max_compute_units
        ones = np.ones(1024 * self._items, np.int32)
        self._data = cl.Buffer(context, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=ones)
        self._a_round = self._items * _SUMS * tier.defines["LANES"] * _BYTES_A_WORD

    def multiplications_a_second(self) -> float:
        """Multiplications with an addition."""
        return self._a_round * _ROUNDS / least_seconds(lambda: self._multiply(_ROUNDS), self._device)[1]

    def calls(self, milliseconds: float, seconds: float) -> list[float]:
        """The milliseconds that each call takes of those that `seconds` take, all of them with as much to do: what
        takes `milliseconds` where nothing disturbs it."""
        least, _ = least_seconds(lambda: self._multiply(_ROUNDS), self._device)
        rounds = max(1, round(_ROUNDS * milliseconds / (least * 1e3)))
        found: list[float] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            self._multiply(rounds)
            found.append((time.perf_counter() - start) * 1e3)
        return found

    def _multiply(self, rounds: int) -> None:
        self._kernel(self._queue, (self._items,), (1,), self._data, np.int32(rounds))
        self._queue.finish()


def arithmetic(device: cl.Device, tier_name: str) -> Arithmetic | None:
    """Of the tier of that name; None for a tier without a DOT."""
    tier = next(one for one in kernels.tiers(kernels.folder() / "network") if one.name == tier_name)
    return Arithmetic(device, tier) if "#define DOT" in tier.text() else None
