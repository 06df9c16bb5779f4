"""A contender as the suite sees it: a process that is told what to do over a pipe.

Each has a process of its own: thread pools and OpenCL drivers of several libraries don't live well in one.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from spark_accel.bench.contender import Job
from spark_accel.bench.environment import environment
from spark_accel.errors import AccelError


class ContenderError(AccelError):
    """A contender could not do what it was told; the message has its own words."""


class ContenderProcess:
    """`ask` it; `close` ends it, also in the middle of something."""

    def __init__(self, name: str, job: Job) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        command = [sys.executable, "-m", "spark_accel.bench.contender_main", name]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment(job.threads),
            start_new_session=True,  # so that what it forks can be ended with it
        )
        self._job = job

    def load(self) -> None:
        """Waits until it is ready; raises ContenderError if it can't be."""
        self._send(asdict(self._job))
        self._receive()

    def ask(self, do: str, **arguments: Any) -> Any:  # noqa: ANN401 - JSON
        """Has it do something and gives its answer; raises ContenderError."""
        self._send({"do": do, **arguments})
        return self._receive()

    def close(self) -> None:
        """Ends the process and waits for that."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101 - asked for above
        with contextlib.suppress(BrokenPipeError):  # `_receive` says why
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def _receive(self) -> Any:  # noqa: ANN401 - JSON
        assert self._process.stdout is not None  # noqa: S101 - asked for above
        line = self._process.stdout.readline()
        if not line:
            raise ContenderError(f"{self.name} ended with status {self._process.wait()}: {self._last_line()}")
        told = json.loads(line)
        if "error" in told:
            raise ContenderError(told["error"])
        return told["answer"]

    def _last_line(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


@contextlib.contextmanager
def closing(processes: list[ContenderProcess]) -> Iterator[None]:
    """Closes them, however what is done with them ends."""
    try:
        yield
    finally:
        for process in processes:
            process.close()
