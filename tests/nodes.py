"""A node of its own for a test: settings with a socket and a repository that nobody shares, and networks in it."""

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import psutil
from conftest import eventually
from plans import random_plan

from spark_accel import endpoint, settings
from spark_accel.networks import plan
from spark_accel.networks.plan import Plan
from spark_accel.protocol import accel_pb2, accel_pb2_grpc
from spark_accel.settings import Settings


@contextlib.contextmanager
def node(folder: Path, **values: str) -> Iterator[Settings]:
    """Settings for a node whose repository is in `folder`; its daemon, if one was started, is ended afterwards."""
    repository = folder / "repository"
    repository.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="accel-") as sockets:
        given = {
            "daemon_socket": f"{sockets}/daemon.sock",
            "repository": str(repository),
            "device": "reference",
            "daemon_idle_timeout": "10s",
        }
        chosen = settings.override(settings.from_environment({}), **(given | values))
        try:
            yield chosen
        finally:
            end_daemon(chosen)


def end_daemon(settings: Settings, number: int = signal.SIGTERM) -> None:
    """Ends the node's daemon, if it has one, and waits for that."""
    pid = endpoint.daemon_pid(settings.daemon_socket)
    if pid and not gone(pid):
        with contextlib.suppress(ProcessLookupError):  # it leaves by itself
            os.kill(pid, number)
        # A killed process shows as gone while its threads still hold the socket.
        eventually(lambda: gone(pid) and not endpoint.answers(settings.daemon_socket), what=f"daemon {pid} ends")


def gone(pid: int) -> bool:
    """Whether the process has ended, reaped or not."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def write_network(repository: Path, name: str = "tiny", max_batch: int = 8, seed: int = 1) -> Plan:
    """Puts a small random network with 11 classes into the repository."""
    network = random_plan(np.random.default_rng(seed))
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    plan.save(network, folder)
    (folder.parent / "labels.txt").write_text("".join(f"n{index:08d} thing {index}\n" for index in range(11)))
    (folder.parent / "config.pbtxt").write_text(
        f"""
        backend: "network" max_batch_size: {max_batch} dynamic_batching {{}}
        input {{ name: "image" data_type: TYPE_UINT8 dims: [{network.height}, {network.width}, 3] }}
        output [ {{ name: "logits" data_type: TYPE_FP32 dims: [{network.classes}] label_filename: "labels.txt" }},
                 {{ name: "index" data_type: TYPE_INT32 dims: -1 }}, {{ name: "score" data_type: TYPE_FP32 dims: -1 }} ]
        parameters {{ key: "resize" value {{ string_value: "40" }} }}"""
    )
    return network


def devices(settings: Settings) -> list[accel_pb2.Device]:
    """What the node's daemon drives."""
    with grpc.insecure_channel(settings.daemon_address) as channel:
        return list(accel_pb2_grpc.NodeStub(channel).Devices(accel_pb2.DevicesRequest(), timeout=30).devices)


def worker_of(settings: Settings) -> int:
    """The process that drives the daemon's device, from when there is one."""
    found: list[int] = []

    def there() -> bool:
        found.append(devices(settings)[0].worker_pid)
        return found[-1] != 0

    eventually(there, what="the daemon has a worker")
    return found[-1]
