"""`spark-accel bench`: measures, names who is absent, writes what `report` reads back, and leaves nothing behind."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import cast

import numpy as np
import psutil
import pytest
from conftest import eventually

from spark_accel import jar
from spark_accel.bench import output, peers, random_network, resnet50, results, suite
from spark_accel.bench.network_tables import headlines, layer_table
from spark_accel.bench.network_work import multiplications
from spark_accel.bench.options import Options
from spark_accel.cli.main import app
from spark_accel.errors import ConfigurationError
from spark_accel.networks.plan import Convolution, Dense, Plan

TINY = ("--device", "cpu", "--rounds", "2", "--seconds", "0.05", "--batches", "1,2", "--threads", "1")


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "spark_accel", "bench", *map(str, arguments)]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=500)


def told(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The same in this process, where nothing is measured: an interpreter takes seconds until it has all imported."""
    printed, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said), pytest.raises(SystemExit) as ended:
        app(args=["bench", *map(str, arguments)], prog_name="spark-accel")
    return subprocess.CompletedProcess(arguments, cast(int, ended.value.code), printed.getvalue(), said.getvalue())


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network")
    return random_network.write(folder / "tiny.onnx", side=32, thinner=8, stages=1, classes=5)


@pytest.fixture(scope="module")
def measured(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with result.json and page.html of a tiny run, and what it printed."""
    folder = tmp_path_factory.mktemp("bench")
    facts = ("--watts", "30", "--price-per-hour", "0.5", "--profile")
    files = ("--json", folder / "result.json", "--html", folder / "page.html")
    done = run("resnet50", "--model", network, *TINY, *facts, *files)
    assert done.returncode == 0, done.stderr
    (folder / "printed.txt").write_text(done.stdout)
    return folder


def test_every_turn_is_in_the_json(measured: Path) -> None:
    result = results.read(measured / "result.json")["benches"]["resnet50"]

    ours = result["contenders"][0]
    assert ours["name"] == "spark-accel"
    assert {batch: len(turns) for batch, turns in ours["turns"].items()} == {"1": 2, "2": 2}
    assert all(turn["seconds"] >= 0.05 for turns in ours["turns"].values() for turn in turns)
    assert len(resnet50.milliseconds(ours)) == sum(turn["images"] for turn in ours["turns"]["1"])


def test_each_peer_is_measured_or_named_as_skipped(measured: Path) -> None:
    result = results.read(measured / "result.json")["benches"]["resnet50"]

    ran = {one["title"] for one in result["contenders"] if one["turns"]}
    absent = {one["title"]: one["reason"] for one in result["skipped"]}
    for name in ("openvino", "onnxruntime"):
        peer = peers.peer(name)
        assert (peer.title in ran) == (not peer.missing())
        assert absent.get(peer.title, "") == peer.missing()


def test_a_peer_that_is_not_installed_comes_with_how_to_install_it() -> None:
    reason = peers.Peer("absent", "Absent", ("no_such_engine",)).missing()

    assert reason == "no_such_engine not installed: pip install 'spark-accel[bench]'"


def test_a_peer_that_is_asked_for_and_not_installed_is_refused_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda _module: None)

    with pytest.raises(
        ConfigurationError, match=r"'onnxruntime' can't take part: .*pip install 'spark-accel\[bench\]'"
    ):
        peers.chosen("onnxruntime", ("openvino", "onnxruntime"))


def test_peers_that_are_not_installed_are_the_first_lines_of_a_bench(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "broken.onnx").write_text("no network")
    monkeypatch.setattr(peers, "find_spec", lambda _module: None)

    suite.run("resnet50", Options(peers=("onnxruntime", "mllib"), model=str(tmp_path / "broken.onnx")), {})

    first, second, third = capfd.readouterr().err.splitlines()[:3]
    assert first.startswith("== resnet50")
    assert second.startswith("ONNX Runtime int8 (static QDQ): skipped, onnxruntime not installed: pip install")
    assert third.startswith("resnet50: ")


def test_machine_versions_and_nominal_power_are_told(measured: Path) -> None:
    printed = (measured / "printed.txt").read_text()

    document = results.read(measured / "result.json")
    assert document["about"]["processor"] in printed
    assert f"numpy {np.__version__}" in printed
    if document["benches"]["resnet50"]["power"]["nominal"]:
        assert "images/s per watt (nominal)" in printed


def test_the_profile_has_every_layer_and_the_whole(measured: Path) -> None:
    result = results.read(measured / "result.json")["benches"]["resnet50"]

    table = layer_table(result["profile"])
    assert table.rows[-1][0] == "all"
    assert len(table.rows) == len(result["profile"]["layers"]) + 1
    assert table.title in (measured / "printed.txt").read_text()


def test_arithmetic_alone_has_its_turns_beside_one_image_wherever_its_limit_is_known(measured: Path) -> None:
    result = results.read(measured / "result.json")["benches"]["resnet50"]

    assert bool(result["arithmetic"]) == bool(result["profile"]["limit"])
    printed = (measured / "printed.txt").read_text()
    assert ("multiplications in registers alone" in printed) == bool(result["arithmetic"])


def test_multiplications_are_those_of_the_layers_shapes() -> None:
    ones = np.ones(4, np.float32)
    convolution = Convolution(
        "c", "image", "c", (2, 2), (1, 1, 1, 1), np.ones((4, 3, 3, 3), np.int8), np.zeros(4, np.int32), ones,
        np.zeros(4, np.uint8), np.zeros(3, np.uint8),
    )  # fmt: skip
    dense = Dense("d", "c", "d", np.ones((7, 4), np.int8), np.zeros(7, np.int32), np.ones(7, np.float32))
    network = Plan(8, 6, (convolution, dense))

    assert multiplications(network, convolution) == 4 * 3 * (4 * 3 * 3 * 3)
    assert multiplications(network, dense) == 28


def test_report_makes_the_same_page_of_the_same_file(measured: Path, tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"

    made = told("report", measured / "result.json", "--markdown", page)
    fresh = told("report", measured / "result.json", "--markdown", page, "--check")
    page.write_text(page.read_text() + "and more\n")
    stale = told("report", measured / "result.json", "--markdown", page, "--check")

    assert (made.returncode, fresh.returncode, stale.returncode) == (0, 0, 1)
    assert "is not what the results say" in stale.stderr


def test_rows_where_we_lose_stay_in_the_page() -> None:
    slower, faster = {"1": [turn(1, 2.0)]}, {"1": [turn(1, 1.0)]}
    ours = {"name": "spark-accel", "title": "ours", "turns": slower}
    theirs = {"name": "openvino", "title": "theirs", "turns": faster}

    found = headlines({"contenders": [ours, theirs]})

    assert [(one.against, one.times) for one in found] == [("theirs", 0.5), ("theirs", 0.5)]


def turn(images: int, seconds: float) -> dict[str, object]:
    return {"images": images, "seconds": seconds, "milliseconds": [seconds * 1e3], "watts": None}


def test_the_page_loads_nothing(measured: Path) -> None:
    text = (measured / "page.html").read_text()
    loading: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            loading.extend([tag] if tag in ("script", "link", "iframe", "img") else [])
            outside = [value for name, value in attrs if name in ("src", "href", "xlink:href", "data", "srcset")]
            loading.extend(value for value in outside if value and not value.startswith("#"))

    Reader().feed(text)

    assert loading == []
    assert "@import" not in text
    assert "url(http" not in text
    assert text.count("<svg") >= 4


def test_a_bench_that_can_not_run_says_why_and_ends_with_status_1(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_text("no network")

    done = run("resnet50", "--model", tmp_path / "broken.onnx", "--json", tmp_path / "result.json", *TINY)

    assert done.returncode == 1
    assert "resnet50: failed: " in done.stdout
    assert "broken.onnx" in results.read(tmp_path / "result.json")["benches"]["resnet50"]["failed"]


def test_all_threads_of_a_bench_are_on_its_cores_also_those_that_numpy_has_started_before() -> None:
    program = (
        "import os, numpy; from spark_accel.bench import suite; suite._pin(1);"
        "print({core for thread in os.listdir('/proc/self/task') for core in os.sched_getaffinity(int(thread))})"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == f"{ {min(os.sched_getaffinity(0))} }\n"


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_no_process(network: Path, signal_number: int) -> None:
    bench, family = started(network)

    bench.send_signal(signal_number)
    _, said = bench.communicate(timeout=60)

    assert bench.returncode == 130
    assert said.splitlines()[-1] == "spark-accel: interrupted"
    eventually(lambda: not any(map(lives, family)), what="all processes of the bench end")


def test_killed_it_leaves_no_process_and_no_folder(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    bench, family = started(network)
    assert list(tmp_path.glob("spark-accel-bench-*"))

    bench.kill()
    bench.communicate(timeout=60)

    eventually(lambda: not any(map(lives, family)), what="all processes of the bench end")
    assert not list(tmp_path.glob("spark-accel-bench-*"))


@pytest.mark.spark
def test_interrupted_in_a_fit_it_leaves_no_spark_no_daemon_and_no_traceback() -> None:
    needs_the_jar()
    bench, family = begun("naive-bayes", "--peers", "none", "--scale", "0.002", "--rounds", "100000")

    bench.send_signal(signal.SIGINT)
    _, said = bench.communicate(timeout=100)

    assert bench.returncode == 130
    assert "Traceback" not in said
    eventually(lambda: not any(map(lives, family)), what="Spark ends")
    # That no daemon is left is what `_nothing_left_behind` of conftest.py sees to.


def started(network: Path) -> tuple["subprocess.Popen[str]", list[psutil.Process]]:
    """A bench in the middle of a turn that would take minutes, and its processes."""
    return begun("resnet50", "--model", network, "--peers", "none", *TINY, "--seconds", "500")


def begun(*arguments: str | Path) -> tuple["subprocess.Popen[str]", list[psutil.Process]]:
    """A bench in its first round, and its processes."""
    bench = launched("round 1 ", *arguments)
    family = psutil.Process(bench.pid).children(recursive=True)
    assert len(family) >= 2
    return bench, family


def launched(said: str, *arguments: str | Path) -> "subprocess.Popen[str]":
    """A bench that has said something on its standard error."""
    heeds_interrupts = ["env", "--default-signal=INT"]  # which who runs tests in the background may have ignored
    bench = subprocess.Popen(
        [*heeds_interrupts, *command(*arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert bench.stderr is not None
    while said not in (line := bench.stderr.readline()):
        assert line, "it ended"
    return bench


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # between the two questions
        return False


@pytest.mark.spark
def test_fits_are_measured_with_their_kernels_and_growth(tmp_path: Path) -> None:
    needs_the_jar()
    file = tmp_path / "result.json"

    done = run("naive-bayes", "--scale", "0.002", "--rounds", "1", "--peers", "mllib", "--json", file)

    assert done.returncode == 0, done.stderr
    result = results.read(file)["benches"]["naive-bayes"]
    assert [len(fit["turns"]["ours"]) for fit in result["fits"]] == [1, 1]
    assert [len(fit["turns"]["mllib"]) for fit in result["fits"]] == [1, 1]
    assert result["precision"] == "float32"
    assert result["blas"].startswith("dev.ludovic.netlib.blas.")
    assert f"stock MLlib's BLAS: {result['blas']}" in done.stdout
    assert [point["rows"] for point in result["growth"]] == [1000, 2000, 4000]
    assert result["kernels"]["limits"]["multiplications"] > 0


@pytest.mark.spark
def test_spark_is_measured_over_a_short_and_a_long_job(network: Path, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    size = ("--scale", "0.05", "--rounds", "1", "--rows", "640")

    done = run("spark", "--model", network, "--peers", "none", *size, "--json", file)

    assert done.returncode == 0, done.stderr
    result = results.read(file)["benches"]["spark"]
    (ours,) = result["contenders"]
    assert len(ours["turns"]) == 1
    assert {name: run["images"] for name, run in result["long"].items()} == {"first": 64, "all": 640}
    assert result["long"]["all"]["memory_bytes"] > 0


def needs_the_jar() -> None:
    try:
        jar.path()
    except ConfigurationError as error:
        pytest.skip(str(error))


def test_json_of_another_format_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text(json.dumps({"format": 99}))

    with pytest.raises(ConfigurationError, match="format 1"):
        results.read(file)


def test_a_folder_that_is_not_ours_is_refused_before_anything_is_measured() -> None:
    if os.access("/proc", os.W_OK):
        pytest.skip("this user may write everywhere")

    with pytest.raises(ConfigurationError, match="can't be written"):
        output.check_writable(Path("/proc/result.json"))
