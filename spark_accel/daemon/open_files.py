"""How many files a process of the daemon may have open."""

import resource


def allow_most() -> None:
    """Raises this process's soft limit to the hard one: each region, and what is mapped of it, holds a descriptor."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
