"""`spark-accel kernels` for tests."""

import subprocess
import sys
from pathlib import Path

COMMAND = (sys.executable, "-m", "spark_accel", "kernels")
SMALL = ("--define", "WORDS=4096", "--define", "GROUP=1")  # less memory than the network's default, quick to build


def kernels(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command and gives what it said."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, cwd=cwd)
