"""The daemon is started once, by whoever needs it first, and whoever can't start it is told why at once."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from conftest import eventually
from nodes import devices, end_daemon, gone, node

from spark_accel import daemon_status, endpoint, launch
from spark_accel.errors import ConfigurationError, DaemonError
from spark_accel.protocol import accel_pb2, accel_pb2_grpc
from spark_accel.settings import Settings, override


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with node(tmp_path) as settings:
        yield settings


def cli(settings: Settings, *arguments: str, **options: object) -> "subprocess.Popen[str]":
    """`spark-accel ARGUMENTS` with these settings in its environment."""
    command = [sys.executable, "-m", "spark_accel", *arguments]
    environment = os.environ | settings.environment()
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **(pipes | options))  # type: ignore[call-overload,no-any-return]


def test_the_first_who_needs_the_daemon_starts_it_and_the_next_attaches(settings: Settings) -> None:
    first, second = launch.ensure(settings), launch.ensure(settings)

    assert (first.started, second.started) == (True, False)
    assert first.pid == second.pid != os.getpid()
    assert os.getsid(first.pid) == first.pid  # it outlives the session that started it


def test_of_many_that_start_at_once_one_wins_and_the_others_attach(settings: Settings) -> None:
    racers = [cli(settings, "daemon", "--background") for _ in range(4)]

    answers = [json.loads(racer.communicate(timeout=60)[0]) for racer in racers]

    assert sorted(answer["started"] for answer in answers) == [False, False, False, True]
    assert {(answer["pid"], answer["socket"]) for answer in answers} == {
        (endpoint.daemon_pid(settings.daemon_socket), str(settings.daemon_socket))
    }


def test_of_two_daemons_started_by_hand_one_serves_and_the_other_leaves(settings: Settings) -> None:
    racers = [cli(settings, "daemon") for _ in range(2)]

    eventually(lambda: any(racer.poll() is not None for racer in racers))
    (loser,) = (racer for racer in racers if racer.poll() is not None)
    (winner,) = (racer for racer in racers if racer is not loser)
    said = loser.communicate()[1]

    assert loser.returncode == 0
    assert f"a daemon (process {winner.pid}) serves {settings.daemon_socket} already" in said
    assert endpoint.answers(settings.daemon_socket)
    winner.terminate()
    winner.communicate()
    assert winner.returncode == 0


def test_a_daemon_that_was_told_to_end_leaves_no_socket(settings: Settings) -> None:
    daemon = launch.ensure(settings)

    os.kill(daemon.pid, signal.SIGTERM)

    eventually(lambda: gone(daemon.pid))
    assert not settings.daemon_socket.exists()


def test_what_listens_there_and_is_no_daemon_is_not_ended(settings: Settings) -> None:
    with socket.socket(socket.AF_UNIX) as own:
        own.bind(str(settings.daemon_socket))
        own.listen()

        with pytest.raises(DaemonError, match="no daemon answers at"):
            launch.end(settings)  # else this process would end


def test_a_dead_daemons_socket_is_in_nobodys_way(settings: Settings) -> None:
    first = launch.ensure(settings)
    end_daemon(settings, signal.SIGKILL)
    assert settings.daemon_socket.is_socket()

    second = launch.ensure(settings)

    assert second.started
    assert second.pid != first.pid


def test_a_daemon_that_nobody_needs_leaves_after_the_idle_timeout(settings: Settings) -> None:
    impatient = override(settings, daemon_idle_timeout="2s")

    daemon = launch.ensure(impatient)

    eventually(lambda: gone(daemon.pid))
    assert not settings.daemon_socket.exists()


def test_the_daemon_may_open_as_many_files_as_its_starter_could_allow(settings: Settings) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
    try:
        daemon = launch.ensure(settings)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert psutil.Process(daemon.pid).rlimit(psutil.RLIMIT_NOFILE) == (hard, hard)


def test_a_lease_keeps_the_daemon(settings: Settings) -> None:
    daemon = launch.ensure(override(settings, daemon_idle_timeout="3s"))

    with grpc.insecure_channel(settings.daemon_address) as channel:
        lease = accel_pb2_grpc.NodeStub(channel).Lease(accel_pb2.LeaseRequest(client="a test"))
        next(lease)
        with pytest.raises(AssertionError):
            eventually(lambda: gone(daemon.pid), limit=5)
        lease.cancel()

        eventually(lambda: gone(daemon.pid))


def test_a_python_that_is_not_there_is_named(settings: Settings) -> None:
    with pytest.raises(DaemonError, match=r"Python '/no/python' \(setting spark.accel.daemon.python\): .*No such file"):
        launch.ensure(override(settings, daemon_python="/no/python"))


def test_a_relative_python_is_one_of_the_folder_of_whoever_starts_the_daemon(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "environment" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o700)
    monkeypatch.chdir(tmp_path)

    assert launch.ensure(override(settings, daemon_python="environment/python")).started


def test_a_python_without_the_package_fails_at_once_with_its_own_words(settings: Settings, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    python = str(tmp_path / "bare" / "bin" / "python")

    with pytest.raises(DaemonError, match="it ended with status 1") as raised:
        launch.ensure(override(settings, daemon_python=python))

    assert str(raised.value).endswith("No module named spark_accel")


def test_a_daemon_that_dies_at_its_start_has_its_last_lines_in_the_error(settings: Settings, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nfor line in $(seq 100); do echo line $line; done\nkill -9 $$\n")
    python.chmod(0o700)

    with pytest.raises(DaemonError, match="it ended with status -9") as raised:
        launch.ensure(override(settings, daemon_python=str(python)))

    lines = str(raised.value).splitlines()
    assert lines[1:] == [f"line {number}" for number in range(81, 101)]


def test_lines_of_an_earlier_daemon_are_not_in_the_error(settings: Settings) -> None:
    launch.ensure(settings)
    end_daemon(settings)

    with pytest.raises(DaemonError, match="it said nothing"):
        launch.ensure(override(settings, daemon_python="/bin/false"))


def test_the_command_line_prints_the_error_and_fails(settings: Settings) -> None:
    process = cli(override(settings, daemon_python="/no/python"), "daemon", "--background")

    printed, said = process.communicate(timeout=60)

    assert (process.returncode, printed) == (1, "")
    assert said.startswith("spark-accel: the daemon can't be started: Python '/no/python'")


def test_without_leave_to_start_one_a_missing_daemon_is_an_error(settings: Settings) -> None:
    with pytest.raises(DaemonError, match=r"no daemon answers at .* and spark.accel.daemon.start is false"):
        launch.ensure(override(settings, daemon_start="false"))


def test_the_daemon_gets_the_settings_and_not_the_callers_environment(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARK_ACCEL_DEVICE", "no such device")

    launch.ensure(settings)

    assert [device.id for device in devices(settings)] == ["reference"]


def test_the_folder_is_made_for_the_user_alone(settings: Settings) -> None:
    inner = settings.daemon_socket.parent / "made" / "daemon.sock"

    launch.ensure(override(settings, daemon_socket=str(inner)))

    assert inner.parent.stat().st_mode & 0o777 == 0o700
    end_daemon(override(settings, daemon_socket=str(inner)))


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o702])
def test_a_folder_that_others_may_enter_is_refused(settings: Settings, mode: int) -> None:
    settings.daemon_socket.parent.chmod(mode)

    with pytest.raises(ConfigurationError, match=f"its folder has mode 0{mode:o} and must have 0700"):
        launch.ensure(settings)


def test_a_folder_that_is_a_link_is_refused(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "target")

    with pytest.raises(ConfigurationError, match="its folder is a link"):
        launch.ensure(override(settings, daemon_socket=str(tmp_path / "link" / "daemon.sock")))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(settings: Settings) -> None:
    os.chown(settings.daemon_socket.parent, 12345, -1)

    with pytest.raises(ConfigurationError, match="its folder belongs to user 12345"):
        launch.ensure(settings)


@pytest.mark.parametrize("use", [launch.ensure, launch.end, daemon_status.collect])
def test_who_listens_in_a_folder_that_others_may_enter_is_not_trusted(
    settings: Settings, use: Callable[[Settings], object]
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(settings.daemon_socket))
        listener.listen()
        settings.daemon_socket.parent.chmod(0o755)

        with pytest.raises(ConfigurationError, match="its folder has mode 0755 and must have 0700"):
            use(settings)


def test_a_log_that_cant_be_written_is_named(settings: Settings) -> None:
    endpoint.log_path(settings.daemon_socket).mkdir()

    with pytest.raises(DaemonError, match=r"its log can't be written: .*Is a directory.*\.log"):
        launch.ensure(settings)


def test_a_path_that_is_too_long_for_a_socket_is_refused(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / ("d" * 100) / "daemon.sock"

    with pytest.raises(ConfigurationError, match=r"its path has \d+ bytes and a Unix socket takes 107 at most"):
        launch.ensure(override(settings, daemon_socket=str(path)))


def test_the_daemon_itself_refuses_such_a_socket_too(settings: Settings) -> None:
    settings.daemon_socket.parent.chmod(0o755)

    process = cli(settings, "daemon")
    said = process.communicate(timeout=60)[1]

    assert process.returncode == 1
    assert "its folder has mode 0755 and must have 0700" in said


def test_somebody_elses_listening_socket_is_not_taken_away(settings: Settings) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(settings.daemon_socket))
        listener.listen()

        assert launch.ensure(settings).started is False
        assert settings.daemon_socket.is_socket()


def test_status_tells_what_the_daemon_drives_serves_and_holds(settings: Settings) -> None:
    missing = cli(settings, "status", "--json")
    assert (missing.wait(60), "no daemon answers" in str(missing.communicate()[1])) == (1, True)
    daemon = launch.ensure(settings)

    with grpc.insecure_channel(settings.daemon_address) as channel:
        lease = accel_pb2_grpc.NodeStub(channel).Lease(accel_pb2.LeaseRequest(client="a test"))
        next(lease)
        facts = json.loads(cli(settings, "status", "--json").communicate(timeout=60)[0])
        table = cli(settings, "status").communicate(timeout=60)[0]

    assert facts["daemon"]["pid"] == daemon.pid
    assert [device["id"] for device in facts["devices"]] == ["reference"]
    assert (facts["models"], facts["regions"]) == ([], [])
    assert [one["client"] for one in facts["leases"]] == ["a test"]
    assert "reference" in table
    assert "a test" in table
