"""How much of a device's memory the copies of partitions may take that a worker keeps (`content_cache.py`), and how
much the tensors of one request to a user's kernel.

Three quarters of a memory of the device's own: networks need the rest. Where the device computes in the host's memory,
half of what its driver gives at all and at most a quarter of the host's: there each copy stands beside the region that
it was made of, and everybody else's data.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyopencl as cl

_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def of_device(device: "cl.Device | None") -> int:
    """The budget in bytes; None is the numpy reference."""
    if device is None:
        return _host_bytes() // 4
    if device.host_unified_memory:
        return min(device.global_mem_size // 2, _host_bytes() // 4)
    return device.global_mem_size // 4 * 3


def _host_bytes() -> int:
    """The host's memory, or what the control group may have of it."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _LIMITS:
        try:
            found = min(found, int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue  # no limit: the file is absent or says "max"
    return found
