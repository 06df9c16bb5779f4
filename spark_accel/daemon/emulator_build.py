"""Builds a program for Intel's FPGA emulator: `python -m spark_accel.daemon.emulator_build SOURCE OUT OPTION…`.

Runs where the emulator is the only OpenCL platform (`loaders.py`). Writes the binary to OUT and prints the board's
name; what the compiler says of a source that does not build goes to stderr, with status 1.
"""

import sys
from pathlib import Path
from typing import cast

import pyopencl as cl

from spark_accel.daemon import parent, quiet_build
from spark_accel.daemon.uncached_program import uncached


def main() -> None:
    """See the file's head."""
    parent.end_with_it()
    source, out, *options = sys.argv[1:]
    try:
        device = cl.get_platforms()[0].get_devices()[0]
        program = uncached(cl.Context([device]), Path(source).read_text(encoding="utf-8"))
        quiet_build.build(program, options)
        Path(out).write_bytes(cast(list[bytes], program.get_info(cl.program_info.BINARIES))[0])
    except cl.Error as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename or out} can't be written: {error.strerror or error}")
    print(device.name.strip())


if __name__ == "__main__":
    main()
