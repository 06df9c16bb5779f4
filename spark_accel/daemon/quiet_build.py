"""Builds a program of the project's own kernels, or of a binary, without a word in the log.

pyopencl warns of whatever a compiler says, and Intel's FPGA emulator says something of every program. Users' kernels
are compiled elsewhere (`own_kernel_program.py`), with all that is said of them.
"""

import warnings
from collections.abc import Sequence

import pyopencl as cl


def build(program: cl.Program, options: Sequence[str] = ()) -> cl.Program:
    """Builds `program` and returns it; raises cl.Error with the compiler's words.

    pyopencl's own cache of binaries is not safe for several processes; drivers have theirs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cl.CompilerWarning)
        program.build(options=list(options), cache_dir=False)  # type: ignore[arg-type]
    return program
