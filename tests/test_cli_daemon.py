"""`spark-accel daemon` and `spark-accel status` as a user types them, beside a daemon that runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from daemons import region, running

from spark_accel.cli import tables


def cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "spark_accel", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=True)


def test_status_has_sizes_for_people_and_bytes_in_json(tmp_path: Path) -> None:
    with running(tmp_path) as daemon, region(daemon, "own", bytes(3 * 2**20)):
        table = cli("status", "--socket", daemon.socket).stdout
        facts = json.loads(cli("status", "--socket", daemon.socket, "--json").stdout)

    assert "3.0 MiB" in table
    assert [one["byte_size"] for one in facts["regions"]] == [3 * 2**20]


def test_status_without_devices_says_where_the_reason_is(tmp_path: Path) -> None:
    with running(tmp_path, device="nobody:nothing", SPARK_ACCEL_FALLBACK="error") as daemon:
        said = cli("status", "--socket", daemon.socket).stdout

    assert "no devices: the daemon says why in its log" in said


@pytest.mark.parametrize("background", [("--background",), ()])
def test_options_of_a_daemon_that_runs_already_are_said_to_be_unused(tmp_path: Path, background: tuple[str]) -> None:
    with running(tmp_path) as daemon:
        said = cli("daemon", "--socket", daemon.socket, "--device", "cpu", "--repository", tmp_path, *background).stderr

    assert f"--repository and --device: not used, a daemon runs at {daemon.socket} already; end it first" in said


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**31, "2.0 GiB")])
def test_sizes_have_the_largest_unit_that_they_fill(count: int, text: str) -> None:
    assert tables.size(count) == text
