"""`spark-accel daemon` and `spark-accel status` as a user types them, beside a daemon that runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import eventually
from daemons import Daemon, region, region_file, running, slow_request, write_model
from infer_requests import X4

from spark_accel.cli import tables


def cli(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "spark_accel", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=check)


def test_status_has_sizes_for_people_and_bytes_in_json(tmp_path: Path) -> None:
    with running(tmp_path) as daemon, region(daemon, "own", bytes(3 * 2**20)):
        table = cli("status", "--socket", daemon.socket).stdout
        facts = json.loads(cli("status", "--socket", daemon.socket, "--json").stdout)

    assert "3.0 MiB" in table
    assert [one["byte_size"] for one in facts["regions"]] == [3 * 2**20]


def test_status_without_devices_says_why_there_are_none(tmp_path: Path) -> None:
    with running(tmp_path, device="nobody:nothing", SPARK_ACCEL_FALLBACK="error") as daemon:
        said = cli("status", "--socket", daemon.socket).stdout
        facts = json.loads(cli("status", "--socket", daemon.socket, "--json").stdout)

    assert "no devices: no OpenCL device matches 'device=nobody:nothing'; there are: " in said
    assert facts["failure"].startswith("no OpenCL device matches 'device=nobody:nothing'; there are: ")
    assert facts["devices"] == []


def test_status_says_why_the_reference_does_the_work(tmp_path: Path) -> None:
    with running(tmp_path, device="nobody:nothing") as daemon:
        said = cli("status", "--socket", daemon.socket).stdout

    assert "no OpenCL device matches 'device=nobody:nothing'; there are: " in said


def test_status_quotes_compilers_as_they_are(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        folder = write_model(daemon.repository, "quoted", 'backend: "z[i] = x[/i]"')
        daemon.refusal("RepositoryModelLoad", model_name="quoted")
        said = cli("status", "--socket", daemon.socket).stdout

    assert folder.is_dir()
    assert "z[i] = x[/i]" in said


def test_status_says_of_a_device_why_it_can_not_be_used(tmp_path: Path) -> None:
    # has each worker, and no other process, end before it has begun
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'spark_accel.daemon.worker' in sys.orig_argv: raise SystemExit\n"
    )
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    with running(tmp_path, PYTHONPATH=path) as daemon:
        eventually(lambda: failures(daemon) != [""], what="the device is given up")
        said = cli("status", "--socket", daemon.socket).stdout
        (told,) = failures(daemon)

    assert told == "device reference can't be used: its worker ended (1); see the daemon's log"
    assert told in said.splitlines()


def failures(daemon: Daemon) -> list[str]:
    facts = json.loads(cli("status", "--socket", daemon.socket, "--json").stdout)
    return [device["failure"] for device in facts["devices"]]


@pytest.mark.parametrize("background", [("--background",), ()])
def test_options_of_a_daemon_that_runs_already_are_said_to_be_unused(tmp_path: Path, background: tuple[str]) -> None:
    with running(tmp_path) as daemon:
        said = cli("daemon", "--socket", daemon.socket, "--device", "cpu", "--repository", tmp_path, *background).stderr

    assert f"--repository and --device: not used, a daemon runs at {daemon.socket} already; end it first" in said
    assert f"(`spark-accel stop --socket {daemon.socket}`)" in said


def test_stop_ends_the_daemon_that_answers_and_says_which(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        said = cli("stop", "--socket", daemon.socket).stdout

        assert said == f"the daemon at {daemon.socket}, process {daemon.process.pid}, has ended\n"
        assert daemon.process.wait(10) == 0
        assert not daemon.socket.exists()


def test_stop_waits_for_what_the_daemon_has_accepted(tmp_path: Path) -> None:
    with (
        running(tmp_path, models=("slow",)) as daemon,
        region_file("slow", X4) as file,
    ):
        under_way = slow_request(daemon, file, delay_ms=500)

        cli("stop", "--socket", daemon.socket)

        assert under_way.done()
        assert under_way.exception() is None


@pytest.mark.parametrize(
    "command", [("stop",), ("status",), ("model", "load", "identity"), ("model", "unload", "identity")]
)
def test_without_a_daemon_that_is_one_line_and_status_1(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = cli(*command, "--socket", tmp_path / "daemon.sock", check=False)

    assert done.returncode == 1
    assert done.stderr.startswith(f"spark-accel: no daemon answers at {tmp_path / 'daemon.sock'}")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_model_is_loaded_loaded_anew_and_unloaded(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        write_model(daemon.repository, "identity")
        loaded = cli("model", "load", "identity", "--socket", daemon.socket)
        first = daemon.states("identity")
        write_model(daemon.repository, "identity", versions=(1, 2))
        again = cli("model", "load", "identity", "--socket", daemon.socket)
        second = daemon.states("identity")
        unloaded = cli("model", "unload", "identity", "--socket", daemon.socket)

        assert loaded.stdout == "model 'identity' is loaded: version 1\n"
        assert first == {"1": "READY"}
        assert again.stdout == "model 'identity' is loaded: version 2\n"
        assert second["2"] == "READY"
        assert unloaded.stdout == "model 'identity' is unloaded\n"
        assert "READY" not in daemon.states("identity").values()


@pytest.mark.parametrize(
    ("command", "name", "reason"),
    [
        ("load", "identify", "model 'identify' is not in the daemon's repository, which has "),
        ("load", "identify", "which has flat, identity; `spark-accel model import` puts a network there"),
        ("load", "flat", "the daemon did not load 'flat': load failed for model 'flat': version 1 is at UNAVAILABLE"),
        ("unload", "identity", "model 'identity' is not loaded; `spark-accel status` has what is"),
    ],
)
def test_what_the_daemon_can_not_load_or_unload_is_said_in_its_words(
    tmp_path: Path, command: str, name: str, reason: str
) -> None:
    with running(tmp_path) as daemon:
        write_model(daemon.repository, "identity")
        write_model(daemon.repository, "flat", 'backend: "no such"')
        done = cli("model", command, name, "--socket", daemon.socket, check=False)

    assert done.returncode == 1
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_model_that_is_removed_is_unloaded(tmp_path: Path) -> None:
    with running(tmp_path, models=("identity", "two")) as daemon:
        daemon.call("RepositoryModelUnload", model_name="two")
        where = ("--socket", daemon.socket, "--repository", daemon.repository)
        said = [cli("model", "remove", name, *where).stdout for name in ("identity", "two")]

        assert [text.endswith(" and unloaded\n") for text in said] == [True, False]
        assert not daemon.call("ModelReady", name="identity").ready


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**31, "2.0 GiB")])
def test_sizes_have_the_largest_unit_that_they_fill(count: int, text: str) -> None:
    assert tables.size(count) == text
