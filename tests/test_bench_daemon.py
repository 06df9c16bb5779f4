"""The bench `daemon`: what its result has, and who is skipped."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from conftest import eventually
from test_bench import lives

from spark_accel.bench import (
    added_latency,
    added_latency_triton,
    daemon,
    identity_clients,
    identity_servers,
    peers,
    random_network,
)
from spark_accel.bench.added_latency import Added, of_requests
from spark_accel.bench.options import Options
from spark_accel.errors import ConfigurationError

_MISSING = identity_servers.triton_missing()
needs_triton = pytest.mark.skipif(bool(_MISSING), reason=_MISSING)


def test_ours_is_measured_and_a_triton_that_is_not_there_is_skipped_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(identity_servers.TRITON_ENV, raising=False)

    network = random_network.write(tmp_path / "tiny.onnx", side=32, thinner=8, stages=1, classes=5)

    result = daemon.measure(Options(peers=("triton",), model=str(network), rounds=2, seconds=0.2), counts=(1, 3))

    (ours,) = result["contenders"]
    assert ours["name"] == "spark-accel"
    assert {count: len(turns) for count, turns in ours["turns"].items()} == {"1": 2, "3": 2}
    assert all(turn["requests_per_second"] > 0 and turn["p50"] <= turn["p99"] for turn in ours["turns"]["3"])
    assert all(turn["client_us"] > 0 and turn["client_sleeps"] > 1 for turn in ours["turns"]["3"])
    assert result["skipped"] == [{"title": "Triton, Python backend", "reason": identity_servers.triton_missing()}]
    assert [row[0] for row in result["tables"][0]["rows"]] == [
        "1 client: spark-accel's daemon",
        "3 clients: spark-accel's daemon",
    ]
    assert [one["batch"] for one in result["added"]] == [1, 32]
    assert all(0 < one["added"] < one["round_trip"] for one in result["added"])
    assert result["added_in_triton"] == []
    assert [row[0] for row in result["tables"][1]["rows"]] == ["batch 1", "batch 32"]
    assert result["tables"][1]["notes"] == []


def test_each_round_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    network = random_network.write(tmp_path / "tiny.onnx", side=32, thinner=8, stages=1, classes=5)

    daemon.measure(Options(model=str(network), rounds=2, seconds=0.05), counts=(1,))

    assert capsys.readouterr().err.splitlines() == [
        "1 client, round 1 of 2",
        "1 client, round 2 of 2",
        "what the daemon adds to tiny.onnx",
    ]


def test_rounds_that_had_ended_before_an_interrupt_are_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = iter([identity_clients.Turn(100.0, 1.0, 2.0, 300.0, 4.0)] * 3)

    def ask(_url: str, _clients: int, _seconds: float) -> identity_clients.Turn:
        for turn in ended:
            return turn
        raise KeyboardInterrupt

    monkeypatch.setattr(identity_clients, "ask", ask)

    result = daemon.measure(Options(rounds=2), counts=(1, 8, 64))

    assert result["interrupted"]
    assert [row[0] for table in result["tables"] for row in table["rows"]] == [
        "1 client: spark-accel's daemon",
        "8 clients: spark-accel's daemon",
    ]


@pytest.mark.parametrize("fails", ["start", "requests", "work"])
def test_a_triton_that_fails_takes_none_of_our_figures_with_it(fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def server(_folder: Path) -> Iterator[str]:
        if fails == "start":
            raise OSError("no server")
        yield "theirs"

    def ask(url: str, clients: int, _seconds: float) -> identity_clients.Turn:
        if url == "theirs" and clients == 8 and fails == "requests":
            raise subprocess.CalledProcessError(1, "clients")
        return identity_clients.Turn(100.0, 1.0, 2.0, 300.0, 4.0)

    def work(*_: object) -> list[Added]:
        raise ConfigurationError("no server any more")

    monkeypatch.setattr(peers.Peer, "missing", lambda _peer: "")
    monkeypatch.setattr(daemon, "_TRITON", daemon._TRITON._replace(running=server))
    monkeypatch.setattr(daemon, "prepare", lambda *_: SimpleNamespace(name="tiny"))
    monkeypatch.setattr(identity_clients, "ask", ask)
    monkeypatch.setattr(added_latency, "measure", lambda *_: [Added(1, 12, 2.0, 1.0, 1.0)])
    monkeypatch.setattr(added_latency_triton, "measure", work)

    result = daemon.measure(Options(peers=("triton",), rounds=2), counts=(1, 8))

    turns = {one["name"]: [len(found) for found in one["turns"].values()] for one in result["contenders"]}
    assert turns["spark-accel"] == [2, 2]
    assert turns.get("triton") == {"start": None, "requests": [2, 0], "work": [2, 2]}[fails]
    assert [one["batch"] for one in result["added"]] == [1]
    (note,) = [note for note in result["tables"][0]["notes"] if note.startswith("Triton, Python backend: ")]
    assert {"start": "no server", "requests": "exit status 1", "work": "no server any more"}[fails] in note


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_clients_end_with_who_asked_and_not_only_with_their_server(signal_number: int, tmp_path: Path) -> None:
    program = "import sys; from spark_accel.bench import identity_clients; identity_clients.ask(sys.argv[1], 3, 500)"
    with identity_servers.daemon(tmp_path) as url:
        heeds_interrupts = ["env", "--default-signal=INT"]
        asking = subprocess.Popen([*heeds_interrupts, sys.executable, "-c", program, url], stderr=subprocess.DEVNULL)
        asker = psutil.Process(asking.pid)
        eventually(lambda: len(asker.children(recursive=True)) == 1 + 3, what="three clients ask")
        family = asker.children(recursive=True)

        asking.send_signal(signal_number)
        asking.wait()

        eventually(lambda: not any(map(lives, family)), what="all clients end")


def test_what_is_added_is_the_median_of_differences_without_the_first_request() -> None:
    found = iter([(900.0, 1.0), *[(20.0, 19.0)] * 5, (40.0, 36.0), *[(50.0, 48.0)] * 6])

    assert of_requests(8, lambda: next(found), seconds=0) == Added(8, 12, round_trip=45.0, worker=42.0, added=2.0)


@needs_triton
def test_in_triton_a_model_works_as_long_as_the_network_did(tmp_path: Path) -> None:
    networks = [Added(1, 12, 0, 5.0, 0), Added(32, 12, 0, 50.0, 0)]

    found = added_latency_triton.measure(networks, tmp_path, seconds=0.2)

    assert [one.batch for one in found] == [1, 32]
    assert all(one.worker >= network.worker for one, network in zip(found, networks, strict=True))
    assert all(0 < one.added < one.round_trip for one in found)


@needs_triton
def test_each_batch_stands_beside_what_triton_adds(tmp_path: Path) -> None:
    network = random_network.write(tmp_path / "tiny.onnx", side=32, thinner=8, stages=1, classes=5)

    result = daemon.measure(Options(peers=("triton",), model=str(network), rounds=1, seconds=0.2), counts=(1,))

    assert [one["batch"] for one in result["added_in_triton"]] == [1, 32]
    assert [row[0] for row in result["tables"][1]["rows"]] == [
        "batch 1",
        "batch 1, as long in Triton, Python backend",
        "batch 32",
        "batch 32, as long in Triton, Python backend",
    ]


def test_an_environment_without_triton_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(identity_servers.TRITON_ENV, "/nowhere")

    assert identity_servers.triton_missing() == (
        "TRITON_ENV is /nowhere: no nvidia-pytriton for its Python there; /nowhere/bin/pip install nvidia-pytriton"
    )
