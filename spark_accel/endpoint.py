"""Where the node daemon is met: its socket, and what lies beside it in a folder that only its user can enter.

`daemon.sock.lock` is held while somebody starts a daemon, `daemon.sock.pid` by the daemon as long as it lives. Both are
POSIX locks, so that they end with their process however it ends. Client and daemon both use this; who starts a daemon
is `launch.py`.
"""

import contextlib
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from spark_accel.errors import ConfigurationError

ENDING_SECONDS = 70.0  # a daemon that ends finishes what it has accepted, and has this long at most
_MAX_PATH = 107  # bytes; a socket's address has 108 with the NUL
_CONNECT_SECONDS = 5.0
_CREDENTIALS = 12  # bytes of what Linux tells of a socket's other end: process, user, group


def lock_path(path: Path) -> Path:
    """The file that is locked while a daemon for socket `path` is started."""
    return path.with_name(path.name + ".lock")


def pid_path(path: Path) -> Path:
    """The file with the daemon's process id, which the daemon keeps locked."""
    return path.with_name(path.name + ".pid")


def log_path(path: Path) -> Path:
    """The file that gets the output of a daemon in the background."""
    return path.with_suffix(".log")


def prepare(path: Path) -> None:
    """Makes the folder of socket `path` with mode 0700.

    Raises ConfigurationError if the address is too long for a socket, or for what `check` does.
    """
    length = len(os.fsencode(path))
    if length > _MAX_PATH:
        raise _unusable(path, f"its path has {length} bytes and a Unix socket takes {_MAX_PATH} at most")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(path, f"its folder can't be made: {error}") from error
    check(path)


def check(path: Path) -> None:
    """Raises ConfigurationError if the folder of socket `path` is a link, somebody else's, or open to others: who
    listens there may then be anybody. There need not be a folder.
    """
    try:
        facts = path.parent.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(path, f"its folder can't be looked at: {error}") from error
    if not stat.S_ISDIR(facts.st_mode):
        raise _unusable(path, "its folder is a link")
    if facts.st_uid != os.geteuid():
        raise _unusable(path, f"its folder belongs to user {facts.st_uid} and not to you ({os.geteuid()})")
    if facts.st_mode & 0o077:
        raise _unusable(path, f"its folder has mode {stat.S_IMODE(facts.st_mode):04o} and must have 0700 (chmod 700)")


def answers(path: Path) -> bool:
    """Whether some process listens on socket `path`."""
    return listener(path) is not None


def listener(path: Path) -> int | None:
    """The id of the process that listens on socket `path`, 0 where it can't be seen from here (it is in a container).

    None: no process does.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        try:
            probe.connect(os.fspath(path))
            (pid,) = struct.unpack_from("i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS))
        except OSError:
            return None
    return int(pid)


def daemon_pid(path: Path) -> int:
    """The process id that the daemon of socket `path` wrote, 0 if there is none."""
    try:
        return int(pid_path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


@contextlib.contextmanager
def launch_lock(path: Path) -> Iterator[None]:
    """Holds the lock of those who start a daemon for socket `path`; waits for it."""
    descriptor = _open(lock_path(path))
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def own(path: Path) -> bool:
    """Makes this process the daemon of socket `path` until it ends. False: another process is."""
    descriptor = _open(pid_path(path))
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode("ascii"))
    return True  # the descriptor stays open: closing it would give up the lock


def owned(path: Path) -> bool:
    """Whether a process is the daemon of socket `path`, be it about to end. Not for the daemon: it would be no more."""
    try:
        descriptor = os.open(pid_path(path), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _unusable(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(f"the daemon's socket {path} can't be used: {reason}; set spark.accel.daemon.socket")
