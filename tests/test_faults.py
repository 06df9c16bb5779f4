"""Whatever is killed while requests run: every answer arrives, and nothing is left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import eventually
from nodes import devices, end_daemon, gone, node, worker_of, write_network
from plans import random_images

from spark_accel import daemon_status, endpoint, launch
from spark_accel.client import Client, Region
from spark_accel.errors import DaemonError
from spark_accel.network_facts import NetworkFacts
from spark_accel.networks import reference
from spark_accel.settings import Settings, override

COUNT = 40


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with node(tmp_path) as settings:
        yield settings


class Stream:
    """Requests of one image each, of which several are in flight."""

    def __init__(self, settings: Settings) -> None:
        self.plan = write_network(settings.repository, max_batch=2)
        self.images = random_images(np.random.default_rng(0), self.plan, COUNT)
        self.client = Client(settings)
        self.network: NetworkFacts = self.client.network("tiny")
        self.region: Region = self.client.region(self.images.nbytes)
        self.region.array[:] = self.images.reshape(-1)

    def start(self, count: int = COUNT) -> None:
        size = self.images[0].nbytes
        self.answers = [
            self.client.logits(self.network, self.region, 1, offset=number * size) for number in range(count)
        ]

    def answered(self) -> int:
        return sum(answer.done() for answer in self.answers)

    def all_right(self) -> bool:
        """Whether every answer arrives and is what the reference says."""
        logits = np.concatenate([answer.result(timeout=60) for answer in self.answers])
        return np.array_equal(logits, reference.run(self.plan, self.images[: len(logits)]))


@pytest.fixture
def stream(settings: Settings) -> Iterator[Stream]:
    stream = Stream(settings)
    yield stream
    stream.client.close()


def stopped_in_the_middle(stream: Stream, settings: Settings) -> int:
    """Begins requests, of which some have been answered and none will be; the worker, which stands still."""
    stream.start(3)
    assert stream.all_right()
    worker = worker_of(settings)
    os.kill(worker, signal.SIGSTOP)
    stream.start()
    return worker


def test_requests_outlive_a_killed_daemon(stream: Stream, settings: Settings) -> None:
    before = endpoint.daemon_pid(settings.daemon_socket)

    worker = stopped_in_the_middle(stream, settings)
    os.kill(before, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)  # which would end by itself, did it not stand still

    assert stream.all_right()
    assert endpoint.daemon_pid(settings.daemon_socket) != before


def test_requests_outlive_a_daemon_that_is_told_to_end(stream: Stream, settings: Settings) -> None:
    before = endpoint.daemon_pid(settings.daemon_socket)

    stream.start()
    eventually(lambda: stream.answered() > 2)
    os.kill(before, signal.SIGTERM)

    assert stream.all_right()
    eventually(lambda: gone(before))


def test_requests_outlive_a_killed_worker(stream: Stream, settings: Settings) -> None:
    worker = stopped_in_the_middle(stream, settings)
    os.kill(worker, signal.SIGKILL)

    assert stream.all_right()
    (after,) = devices(settings)
    assert after.restarts == 1
    assert after.worker_pid not in (0, worker)


def test_requests_outlive_a_worker_that_is_killed_again_and_again(stream: Stream, settings: Settings) -> None:
    for restarts in range(3):
        stream.start(10)
        os.kill(worker_of(settings), signal.SIGKILL)
        eventually(lambda expected=restarts + 1: devices(settings)[0].restarts == expected)
        assert stream.all_right()


def test_the_workers_of_a_killed_daemon_end(settings: Settings) -> None:
    launch.ensure(settings)
    worker = worker_of(settings)

    end_daemon(settings, signal.SIGKILL)

    eventually(lambda: gone(worker))


def test_regions_of_a_client_that_outlives_its_daemon_go_when_the_client_ends(settings: Settings) -> None:
    stream = Stream(settings)
    file = Path("/dev/shm") / stream.region.name
    end_daemon(settings, signal.SIGKILL)

    stream.start(3)
    assert stream.all_right()
    assert file.exists()
    stream.client.close()

    assert not file.exists()
    eventually(lambda: daemon_status.collect(settings)["regions"] == [])


def test_regions_that_wait_for_their_next_user_go_with_the_daemon(stream: Stream, settings: Settings) -> None:
    """Nobody else deletes them where the client is killed before another daemon starts."""
    region = stream.client.borrow(4096)
    file = Path("/dev/shm") / region.name
    stream.client.give_back(region)
    assert file.exists()

    end_daemon(settings, signal.SIGKILL)

    eventually(lambda: not file.exists())


def test_a_killed_client_leaves_neither_files_nor_regions_nor_its_lease(settings: Settings) -> None:
    code = """
import sys
from spark_accel import client, settings
shared = client.shared(settings.from_environment())
print(shared.region(4096).name, shared.region(4096).name, flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | settings.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    files = [Path("/dev/shm") / name for name in process.stdout.readline().split()]
    assert [file.exists() for file in files] == [True, True]
    assert len(daemon_status.collect(settings)["regions"]) == 2

    process.kill()
    process.communicate()

    eventually(lambda: not any(file.exists() for file in files))
    facts = daemon_status.collect(settings)
    assert (facts["regions"], facts["leases"]) == ([], [])


def test_a_daemon_that_can_not_be_brought_back_ends_the_job_with_the_reason(settings: Settings, tmp_path: Path) -> None:
    python = tmp_path / "python"
    wrapper = (
        f'#!/bin/sh\n[ -e {tmp_path}/broken ] && echo "the disk is on fire" && exit 3\nexec {sys.executable} "$@"\n'
    )
    python.write_text(wrapper)
    python.chmod(0o700)
    stream = Stream(override(settings, daemon_python=str(python)))
    (tmp_path / "broken").touch()
    end_daemon(settings, signal.SIGKILL)

    stream.start(1)

    with pytest.raises(DaemonError, match=r"it ended with status 3[\s\S]*the disk is on fire"):
        stream.answers[0].result(timeout=60)
    stream.client.close()


def test_a_worker_that_cannot_be_started_for_want_of_descriptors_is_started_later(
    stream: Stream, settings: Settings
) -> None:
    daemon = psutil.Process(endpoint.daemon_pid(settings.daemon_socket))
    (worker,) = devices(settings)
    limit = daemon.rlimit(psutil.RLIMIT_NOFILE)
    daemon.rlimit(psutil.RLIMIT_NOFILE, (3, limit[1]))

    os.kill(worker.worker_pid, signal.SIGKILL)
    eventually(lambda: gone(worker.worker_pid))
    eventually(lambda: "could not be started" in endpoint.log_path(settings.daemon_socket).read_text())
    daemon.rlimit(psutil.RLIMIT_NOFILE, limit)

    stream.start(4)
    assert stream.all_right()
