"""An FPGA's program given to the board again, from its binary, after the board has held another one."""

from typing import cast

import pyopencl as cl


def reloaded(program: cl.Program, context: cl.Context) -> cl.Program:
    """The same program, anew: a board's driver programs it for that."""
    binaries = cast(list[bytes], program.get_info(cl.program_info.BINARIES))
    again = cl.Program(context, context.devices, binaries)
    again.build(cache_dir=False)  # type: ignore[arg-type]
    return again
