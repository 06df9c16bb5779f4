"""Clients of a server's model `identity`, each a process of its own with `tritonclient`, which ask without a pause.

    python -m spark_accel.bench.identity_clients URL CLIENTS SECONDS

They are forked from this process, which has imported everything and has no threads: 64 of them start in a second. All
end with who asked: when this process's standard input does.
"""

import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as triton

VALUES = 1000  # float32, inline
_WARM_UP = 20  # requests


@dataclass(frozen=True)
class Turn:
    """Requests that were answered per second, milliseconds of a round trip, and what a request costs its client:
    microseconds of processor time, and how often it slept."""

    requests_per_second: float
    p50: float
    p99: float
    client_us: float
    client_sleeps: float


def ask(url: str, clients: int, seconds: float) -> Turn:
    """What `clients` at once get of the server at `url`; raises CalledProcessError if one of them fails."""
    command = [sys.executable, "-m", __name__, url, str(clients), str(seconds)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True) as process:
        assert process.stdout is not None  # noqa: S101 - asked for above
        told = process.stdout.read()
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, command)
    return Turn(**json.loads(told))


def _turn(url: str, clients: int, seconds: float) -> Turn:
    context = multiprocessing.get_context("fork")
    begin = context.Event()
    pipes = []
    for _ in range(clients):
        here, there = context.Pipe(duplex=False)
        context.Process(target=_client, args=(url, begin, seconds, there), daemon=True).start()
        there.close()
        pipes.append(here)
    threading.Thread(target=_end_with_who_asked, daemon=True).start()
    for pipe in pipes:
        pipe.recv()
    begin.set()
    times, costs = zip(*(pipe.recv() for pipe in pipes), strict=True)
    rate = sum(len(each) / each.sum() for each in times)  # the last answer comes after the end
    round_trips = np.concatenate(times)
    p50, p99 = np.percentile(round_trips, (50, 99)) * 1e3
    used, sleeps = np.sum(costs, axis=0) / len(round_trips)
    return Turn(float(rate), float(p50), float(p99), float(used * 1e6), float(sleeps))


def _end_with_who_asked() -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing is ever written to it
    os.killpg(0, signal.SIGKILL)


def _client(url: str, begin: Event, seconds: float, pipe: Connection) -> None:
    client = triton.InferenceServerClient(url)
    values = np.arange(VALUES, dtype=np.float32)[np.newaxis]
    tensor = triton.InferInput("x", list(values.shape), "FP32")
    tensor.set_data_from_numpy(values)
    for _ in range(_WARM_UP):
        answer = client.infer("identity", [tensor])
        if not np.array_equal(answer.as_numpy("y"), values):
            raise RuntimeError(f"{url} did not answer what it was asked")
    pipe.send(None)
    begin.wait()
    round_trips = []
    before_all = _cost()
    now = time.perf_counter()
    end = now + seconds
    while now < end:
        client.infer("identity", [tensor])
        before, now = now, time.perf_counter()
        round_trips.append(now - before)
    pipe.send((np.array(round_trips), _cost() - before_all))


def _cost() -> npt.NDArray[np.float64]:
    """Seconds of processor time that this process has used, and how often it slept."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return np.array([usage.ru_utime + usage.ru_stime, usage.ru_nvcsw])


if __name__ == "__main__":
    print(json.dumps(asdict(_turn(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))))
