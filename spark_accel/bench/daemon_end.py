"""The end of a daemon that a bench has started."""

import contextlib
import os
import signal

from spark_accel import endpoint, launch
from spark_accel.settings import Settings


def end_daemon(settings: Settings) -> None:
    """Tells the daemon to end, if one answers, and waits until it has."""
    pid = endpoint.daemon_pid(settings.daemon_socket)
    if pid and endpoint.answers(settings.daemon_socket):
        with contextlib.suppress(ProcessLookupError):  # it leaves by itself
            os.kill(pid, signal.SIGTERM)
        launch.outlast(settings)
