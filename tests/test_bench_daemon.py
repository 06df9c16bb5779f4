"""The bench `daemon`: what its result has, and who is skipped."""

from pathlib import Path

import pytest

from spark_accel.bench import daemon, identity_servers, random_network
from spark_accel.bench.options import Options


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


def test_an_environment_without_triton_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(identity_servers.TRITON_ENV, "/nowhere")

    assert identity_servers.triton_missing() == (
        "TRITON_ENV is /nowhere: no nvidia-pytriton for its Python there; /nowhere/bin/pip install it"
    )
