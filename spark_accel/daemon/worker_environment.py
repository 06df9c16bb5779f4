"""The environment of a worker: how many threads its libraries may use, and large pages for its memory."""

import math
import os
from collections.abc import Mapping
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_TUNABLES = "GLIBC_TUNABLES"
_LARGE_PAGES = "glibc.malloc.hugetlb"


def threads() -> int:
    """The number of CPUs that this process may keep busy, within its control group's quota; at least 1."""
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
    return {
        "OPENBLAS_NUM_THREADS": budget,
        "POCL_MAX_PTHREAD_COUNT": budget,
        **inherited,
        **large_pages(inherited),
        "OMP_NUM_THREADS": budget,
    }


def large_pages(inherited: Mapping[str, str]) -> dict[str, str]:
    """What has the C library ask for pages of 2 MiB, where the system gives them to whoever asks.

    A network's weights and activations are more than the processor has addresses of small pages at hand.
    """
    given = inherited.get(_TUNABLES, "")
    if any(one.split("=")[0] == _LARGE_PAGES for one in given.split(":")):
        return {}
    return {_TUNABLES: ":".join(filter(None, [given, f"{_LARGE_PAGES}=1"]))}
