"""Finds, starts and ends the node's daemon. It is started detached, in a session of its own, under a lock so that one
wins of many.

Whoever needs a daemon calls `ensure`: clients, and through `spark-accel daemon --background` the executor plugin.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import spark_accel
from spark_accel import endpoint
from spark_accel.errors import DaemonError
from spark_accel.settings import Settings

_START_SECONDS = 60.0
_LINES = 20
_LONG_LOG = 2**20  # bytes, from which on a new daemon starts its log anew


@dataclass(frozen=True)
class Daemon:
    """A daemon that answers. `pid` is 0 where it can't be told."""

    socket: Path
    pid: int
    started: bool  # by this call


def ensure(settings: Settings) -> Daemon:
    """The daemon of `settings.daemon_socket`, which is started if none answers.

    Raises DaemonError, with the daemon's own last lines, if it can't be started or (`daemon.start` false) must not be;
    ConfigurationError if the socket can't be used.
    """
    path = settings.daemon_socket
    if endpoint.answers(path):
        endpoint.check(path)  # before anything is told to who listens there
        return Daemon(path, endpoint.daemon_pid(path), False)
    if not settings.daemon_start:
        raise DaemonError(
            f"no daemon answers at {path} and spark.accel.daemon.start is false: start it with 'spark-accel daemon'"
        )
    endpoint.prepare(path)
    with endpoint.launch_lock(path):
        if endpoint.answers(path):  # somebody else was faster
            return Daemon(path, endpoint.daemon_pid(path), False)
        _start(settings)
        return Daemon(path, endpoint.daemon_pid(path), True)


def outlast(settings: Settings) -> None:
    """Returns when the daemon that answers does no more, or after `ENDING_SECONDS`, within which one that ends does."""
    end = time.monotonic() + endpoint.ENDING_SECONDS
    while endpoint.answers(settings.daemon_socket) and time.monotonic() < end:
        time.sleep(0.02)


def end(settings: Settings) -> int:
    """Ends the daemon that answers, as SIGTERM does, and waits for that; gives the id that its process had.

    Raises DaemonError if none answers, it can't be told to end, or it has not ended within `ENDING_SECONDS`;
    ConfigurationError if the socket's folder is not this user's alone.
    """
    path = settings.daemon_socket
    endpoint.check(path)
    owner = endpoint.daemon_pid(path)
    if not endpoint.owned(path):
        raise DaemonError(f"no daemon answers at {path}: nothing is ended; --socket says which one is meant")
    limit = time.monotonic() + endpoint.ENDING_SECONDS
    while (pid := endpoint.listener(path)) is None and time.monotonic() < limit:  # it starts, or ends already
        if not endpoint.owned(path):
            return owner
        time.sleep(0.02)
    if pid is None:
        raise DaemonError(f"process {owner}, the daemon at {path}, neither answers nor ends; `kill -9 {owner}` ends it")
    if pid == 0:
        raise DaemonError(f"the daemon at {path} is in another container: end it there")
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has just ended
    except PermissionError as error:
        raise DaemonError(f"process {pid}, the daemon at {path}, can't be told to end: {error.strerror}") from error
    while endpoint.owned(path) and endpoint.daemon_pid(path) == owner:  # another id: its successor's
        if time.monotonic() > limit:
            raise DaemonError(
                f"process {pid}, the daemon at {path}, was told to end and has not within"
                f" {endpoint.ENDING_SECONDS:g} s; `kill -9 {pid}` ends it at once"
            )
        time.sleep(0.02)
    return pid


def _start(settings: Settings) -> None:
    path = settings.daemon_socket
    log = endpoint.log_path(path)
    python = settings.daemon_python or sys.executable
    if os.sep in python:  # it names a file, from here, and not a program of PATH
        python = str(Path.cwd() / python)
    with _opened(log) as output:
        before = output.tell()
        try:
            process = subprocess.Popen(
                [python, "-m", "spark_accel", "daemon"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",  # it outlives whoever starts it and must not hold a folder
                env=_environment(settings),
            )
        except OSError as error:
            raise DaemonError(f"the daemon can't be started: {_python(settings)}: {error}") from error
    end = time.monotonic() + _START_SECONDS
    while not endpoint.answers(path):
        status = process.poll()
        if status is not None and not endpoint.answers(path):
            raise _failed(settings, f"it ended with status {status}", log, before)
        if time.monotonic() > end:
            process.kill()
            process.wait()
            raise _failed(settings, f"it did not answer within {_START_SECONDS:g} s", log, before)
        time.sleep(0.01)
    # It may end long before this process does, which must not keep its remains.
    threading.Thread(target=process.wait, name="spark-accel daemon", daemon=True).start()


def _opened(log: Path) -> IO[bytes]:
    try:
        if log.exists() and log.stat().st_size > _LONG_LOG:
            log.unlink()
        return log.open("ab")
    except OSError as error:
        raise DaemonError(f"the daemon can't be started: its log can't be written: {error}") from error


def _environment(settings: Settings) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_ACCEL_")}
    if not settings.daemon_python:  # the same Python: have it find the same package, wherever this one came from
        folder = str(Path(spark_accel.__file__).parents[1])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (folder, environment.get("PYTHONPATH"))))
    return environment | settings.environment()


def _python(settings: Settings) -> str:
    if settings.daemon_python:
        return f"Python '{settings.daemon_python}' (setting spark.accel.daemon.python)"
    return f"Python '{sys.executable}'"


def _failed(settings: Settings, what: str, log: Path, start: int) -> DaemonError:
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").splitlines()[-_LINES:]
    nothing = "(it said nothing)" if shutil.disk_usage(log.parent).free else "(it said nothing: no room is left there)"
    said = "\n".join(lines) or nothing
    return DaemonError(
        f"the daemon can't be started with {_python(settings)}: {what}. Its last lines, from {log}:\n{said}"
    )
