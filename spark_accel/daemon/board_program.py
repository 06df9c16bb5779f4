"""An FPGA's program given to the board again, from its binary, after the board has held another one."""

from collections.abc import Mapping
from typing import cast

import numpy as np
import pyopencl as cl

from spark_accel.daemon import kernels, quiet_build
from spark_accel.errors import ModelError


def reloaded(program: cl.Program, context: cl.Context) -> cl.Program:
    """The same program, anew: a board's driver programs it for that."""
    binaries = cast(list[bytes], program.get_info(cl.program_info.BINARIES))
    return quiet_build.build(cl.Program(context, context.devices, binaries))


def reloaded_kernels(program: cl.Program, context: cl.Context, macros: Mapping[str, int]) -> cl.Program:
    """The same for the project's own kernels; raises ModelError unless they were built with these macros."""
    again = reloaded(program, context)
    built_with = dict(zip(sorted(macros), _told(again, context, len(macros)), strict=True))
    wrong = [f"{name}={value}" for name, value in built_with.items() if macros[name] != value]
    if wrong:
        raise ModelError(
            f"the bitstream was built with {', '.join(wrong)}, and bitstream.json says otherwise: install it again with"
            " --define for each macro of its build"
        )
    return again


def _told(program: cl.Program, context: cl.Context, count: int) -> list[int]:
    values = np.zeros(count, np.int32)
    queue = cl.CommandQueue(context, context.devices[0])
    try:
        kernel = cl.Kernel(program, kernels.MACROS)
    except cl.Error:
        raise ModelError("the bitstream is of another version of these kernels: build it again") from None
    buffer = cl.Buffer(context, cl.mem_flags.WRITE_ONLY, values.nbytes)
    kernel.set_arg(0, buffer)
    cl.enqueue_nd_range_kernel(queue, kernel, (1,), (1,))
    cl.enqueue_copy(queue, values, buffer)
    return [int(value) for value in values]
