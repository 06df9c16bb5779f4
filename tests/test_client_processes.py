"""Clients of the daemon and the processes that they live in: one each, whatever is forked."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import eventually
from nodes import node, write_network

from spark_accel import daemon_status
from spark_accel.settings import Settings


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with node(tmp_path_factory.mktemp("node")) as settings:
        write_network(settings.repository)
        yield settings


def run(code: str, settings: Settings) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process of its own."""
    environment = os.environ | settings.environment()
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_a_process_has_one_client_and_its_end_leaves_no_file(settings: Settings) -> None:
    code = """
from spark_accel import client, settings
first, second = (client.shared(settings.from_environment()) for _ in range(2))
print(first is second, first.region(4096).name)
"""
    done = run(code, settings)

    same, name = done.stdout.split()

    assert same == "True"
    assert not Path("/dev/shm", name).exists()


def test_a_forked_child_gets_a_client_of_its_own_and_leaves_its_parents_alone(settings: Settings) -> None:
    code = """
import os, signal
from spark_accel import client, settings
chosen = settings.from_environment()
parent = client.shared(chosen)
region = parent.region(4096)
for _ in range(20):
    child = os.fork()
    if not child:
        signal.alarm(20)
        assert client.shared(chosen) is not parent
        client.shared(chosen).network("tiny")
        client.shared(chosen).close()
        parent.close()
        os._exit(0)
    print(os.waitpid(child, 0)[1], os.path.exists("/dev/shm/" + region.name), parent.network("tiny").name)
"""
    done = run(code, settings)

    assert done.stdout.splitlines() == ["0 True tiny"] * 20


def test_what_a_forked_child_does_with_its_parents_client_is_refused_and_harms_nobody(settings: Settings) -> None:
    code = """
import os
from spark_accel import client, settings
parent = client.shared(settings.from_environment())
region = parent.region(4096)
child = os.fork()
if not child:
    for use in (parent.devices, lambda: parent.region(1)):
        try:
            use()
        except Exception as error:
            print(type(error).__name__, error)
    region.close()
    raise SystemExit
os.waitpid(child, 0)
print(os.getpid(), os.path.exists("/dev/shm/" + region.name), parent._connection.unregister(region.name))
"""
    done = run(code, settings)

    assert done.returncode == 0, done.stderr
    *refusals, afterwards = done.stdout.splitlines()
    pid = afterwards.split()[0]
    assert afterwards == f"{pid} True True"
    assert refusals == [f"DaemonError this client of the daemon is process {pid}'s; make a new one in this process"] * 2


def test_a_fork_while_the_client_is_made_gets_its_own(settings: Settings) -> None:
    code = """
import os, signal, threading
from spark_accel import client, connection, settings
chosen = settings.from_environment()
made, forked = threading.Event(), threading.Event()
ensure = connection.launch.ensure
def slow(settings):
    made.set()
    forked.wait(20)
    return ensure(settings)
connection.launch.ensure = slow
thread = threading.Thread(target=client.shared, args=[chosen])
thread.start()
made.wait(20)
child = os.fork()
if not child:
    signal.alarm(20)
    forked.set()
    client.shared(chosen).network("tiny")
    client.shared(chosen).close()
    os._exit(0)
forked.set()
print(os.waitpid(child, 0)[1])
thread.join()
print(client.shared(chosen).network("tiny").name)
"""
    assert run(code, settings).stdout.splitlines() == ["0", "tiny"]


def test_a_process_with_a_client_starts_others_by_fork(settings: Settings) -> None:
    # As PySpark starts its JVM.
    code = """
import os, subprocess
from spark_accel import client, settings
shared = client.shared(settings.from_environment())
for _ in range(200):
    shared.devices()
    subprocess.run(["true"], preexec_fn=lambda: None, check=True)
"""
    done = run(code, settings)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_child_that_lives_on_does_not_keep_its_parents_lease(settings: Settings) -> None:
    code = """
import os, signal
from spark_accel import client, settings
client.shared(settings.from_environment()).devices()
child = os.fork()
if not child:
    os.close(1), os.close(2)
    signal.pause()
print(child, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    child = int(run(code, settings).stdout)
    try:
        eventually(lambda: not daemon_status.collect(settings)["leases"])
    finally:
        os.kill(child, signal.SIGKILL)
