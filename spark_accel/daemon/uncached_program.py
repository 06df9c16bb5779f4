"""A program of source that pyopencl builds without its own cache."""

import warnings

import pyopencl as cl


def uncached(context: cl.Context, source: str) -> cl.Program:
    """The program, not built yet. pyopencl's cache is not safe for several processes, and keeps what does not compile
    in files; of a program that was looked at before, it takes none."""
    program = cl.Program(context, source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program.get_info(cl.program_info.NUM_DEVICES)
    return program
