"""What kernels can reach at most on an OpenCL device: multiplications and additions in registers, bytes from memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyopencl as cl

from spark_accel.daemon import quiet_build
from spark_accel.daemon.kernels import Tier

_ACCUMULATORS = 12  # chains of multiplications and additions: more than a processor has on the way at once
_ROUNDS = 2_000_000
_BYTES = 256 * 2**20  # read from memory: more than caches hold
_SOURCE = """
#define CHAINS 12
INNER void multiply(__global real *x, int rounds)
{
    realv sums[CHAINS];
    #pragma unroll
    for (int i = 0; i < CHAINS; i++)
        sums[i] = LOADV(x + i * LANES);
    const realv factor = LOADV(x + CHAINS * LANES);
    for (int k = 0; k < rounds; k++)
        #pragma unroll
        for (int i = 0; i < CHAINS; i++)
            sums[i] = sums[i] * factor + factor;
    #pragma unroll
    for (int i = 0; i < CHAINS; i++)
        STOREV(x + i * LANES, sums[i]);
}
__kernel void multiplications(__global real *x, int rounds)
{
    multiply(x + get_global_id(0) * 1024, rounds);
}
INNER void add(__global const real *x, long n, __global real *sum)
{
    realv sums[4];
    #pragma unroll
    for (int i = 0; i < 4; i++)
        sums[i] = LOADV(x + i * LANES);
    for (long j = 4 * LANES; j < n; j += 4 * LANES)
        #pragma unroll
        for (int i = 0; i < 4; i++)
            sums[i] += LOADV(x + j + i * LANES);
    STOREV(sum, sums[0] + sums[1] + sums[2] + sums[3]);
}
__kernel void bytes(__global const real *x, long n, __global real *sums)
{
    add(x + get_global_id(0) * n, n, sums + get_global_id(0) * LANES);
}
"""


@dataclass(frozen=True)
class Limits:
    """Multiplications with an addition a second, and bytes read a second."""

    multiplications: float
    bytes: float


def least_seconds(call: Callable[[], object], device: cl.Device, seconds: float = 0.5) -> tuple[float, float]:
    """Of the calls that `seconds` take, three at least after one to warm up: the least time and the least busy time.

    Busy is, on a processor, its time by core: on a machine that others use, too, this says what a call takes alone.
    """
    call()
    passed: list[float] = []
    used: list[float] = []
    end = time.perf_counter() + seconds
    while len(passed) < 3 or time.perf_counter() < end:
        started = time.perf_counter(), time.process_time()
        call()
        passed.append(time.perf_counter() - started[0])
        used.append(time.process_time() - started[1])
    is_processor = bool(device.type & cl.device_type.CPU)
    return min(passed), min(used) / device.max_compute_units if is_processor else min(passed)


def measure(device: cl.Device, tier: Tier, precision: np.dtype[Any]) -> Limits:
    """The limits of a device for vectors as a tier of the estimators' kernels has them."""
    folder = tier.source.parents[1] / "estimators"
    head = [(folder / f"{name}.h").read_text(encoding="utf-8") for name in (tier.name, "real")]
    context = cl.Context([device])
    queue = cl.CommandQueue(context)
    options = [*tier.build_options(), f"-DDOUBLE={int(precision.itemsize == 8)}"]
    program = quiet_build.build(cl.Program(context, "\n".join([*head, _SOURCE])), options)
    multiplications, read = cl.Kernel(program, "multiplications"), cl.Kernel(program, "bytes")
    items = 16 * device.max_compute_units
    lanes = tier.defines["VECTOR_BYTES"] // precision.itemsize
    each = _BYTES // precision.itemsize // items // 64 * 64
    data = cl.Buffer(context, cl.mem_flags.READ_WRITE, _BYTES)
    sums = cl.Buffer(context, cl.mem_flags.READ_WRITE, items * 64)
    cl.enqueue_fill_buffer(queue, data, np.zeros(1, precision), 0, _BYTES)

    def multiply() -> None:
        multiplications(queue, (items,), (1,), data, np.int32(_ROUNDS))
        queue.finish()

    def add() -> None:
        read(queue, (items,), (1,), data, np.int64(each), sums)
        queue.finish()

    done = items * _ROUNDS * _ACCUMULATORS * lanes
    read_bytes = items * each * precision.itemsize
    return Limits(done / least_seconds(multiply, device)[1], read_bytes / least_seconds(add, device)[1])
