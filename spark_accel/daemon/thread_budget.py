"""How many threads a worker may use: the CPUs that this process may run on, within its control group's quota."""

import math
import os
from collections.abc import Mapping
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def threads() -> int:
    """The number of CPUs that can be kept busy, at least 1."""
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        cpus = min(cpus, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass  # no quota: the file is absent or says "max"
    return max(1, cpus)


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """A worker's environment.

    The daemon serves the whole node, but a Spark task that starts it may be told to use one thread: Spark sets
    OMP_NUM_THREADS for its Python workers. So that variable is replaced; more specific ones stay as somebody set them.
    """
    budget = str(threads())
    return {"OPENBLAS_NUM_THREADS": budget, "POCL_MAX_PTHREAD_COUNT": budget, **inherited, "OMP_NUM_THREADS": budget}
