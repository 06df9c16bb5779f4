"""Bitstreams: listed, loaded while the daemon runs, and refused when they are not sound."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from conftest import eventually
from daemons import Daemon, running
from infer_requests import request, tensor
from kernel_builds import SMALL, kernels
from plans import random_images, random_plan

from spark_accel.daemon import loaders
from spark_accel.fpga import bitstream
from spark_accel.networks import plan, reference
from spark_accel.protocol import accel_pb2, accel_pb2_grpc

REQUESTS = 64  # of each client


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two versions of the network's bitstream."""
    if loaders.EMULATOR not in loaders.names():
        pytest.skip("no FPGA emulator: pip install 'spark-accel[fpga]'")
    repository = tmp_path_factory.mktemp("repository")
    for lanes in ("16", "32"):
        done = kernels(
            "build", "--target", "emulator", *SMALL, "--define", f"LANES={lanes}", "--repository", str(repository)
        )
        assert done.returncode == 0, done.stderr
    return repository


@pytest.fixture
def daemon(built: Path, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon on the emulator, with these bitstreams and a network that nobody has loaded."""
    with running(tmp_path, ("identity",), device="fpga") as daemon:  # it has looked for bitstreams by then
        shutil.copytree(built, daemon.repository, dirs_exist_ok=True)
        write_network(daemon.repository, "small", random_plan(np.random.default_rng(1)))
        yield daemon


def write_network(repository: Path, name: str, network: plan.Plan) -> None:
    (repository / name / "1").mkdir(parents=True)
    plan.save(network, repository / name / "1")
    (repository / name / "config.pbtxt").write_text(
        'backend: "network" max_batch_size: 4'
        f' input {{ name: "image" data_type: TYPE_UINT8 dims: [{network.height}, {network.width}, 3] }}'
        f' output {{ name: "logits" data_type: TYPE_FP32 dims: {network.classes} }}'
    )


def logits(daemon: Daemon) -> tuple[np.ndarray, np.ndarray]:
    """What the daemon answers for two images, and what is right."""
    network = plan.load(daemon.repository / "small" / "1")
    images = random_images(np.random.default_rng(2), network, 2)
    answer = daemon.infer(request(tensor("image", images.shape, images.tobytes(), "UINT8"), model="small"))
    return np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(2, -1), reference.run(network, images)


def board(daemon: Daemon) -> accel_pb2.Device:
    """What the daemon says of its board."""
    (facts,) = accel_pb2_grpc.NodeStub(daemon.channel).Devices(accel_pb2.DevicesRequest(), timeout=30).devices
    assert isinstance(facts, accel_pb2.Device)
    return facts


def version(daemon: Daemon, number: int) -> Path:
    return daemon.repository / "network-bitstream" / str(number)


def test_versions_lie_side_by_side_and_are_listed_with_what_is_known(built: Path) -> None:
    rows = json.loads(kernels("list", "--json", "--repository", str(built)).stdout)

    assert [(row["name"], row["version"], row["defines"]["LANES"]) for row in rows] == [
        ("network-bitstream", 1, 16),
        ("network-bitstream", 2, 32),
    ]
    for row in rows:
        assert row["board"] == "Intel(R) FPGA Emulation Device"
        assert set(row["kernels"]) == {"maps", "weights", "array", "requantise", "pool", "told_macros"}
        assert row["size"] > 10_000
        assert len(row["sha256"]) == 64
        assert "problem" not in row


@pytest.mark.parametrize("family", ["kmeans", "logistic", "naive_bayes"])
def test_the_emulators_file_of_a_network_is_installed_as_no_other_family(
    built: Path, tmp_path: Path, family: str
) -> None:
    file = built / "network-bitstream" / "1" / bitstream.FILE

    done = kernels("install", str(file), "--board", "b", "--family", family, "--repository", str(tmp_path / "r"))

    assert done.returncode == 1
    assert f"has the kernels of 'network', not those of '{family}': give --family network" in done.stderr
    assert not (tmp_path / "r").exists()


def test_a_network_runs_on_a_bitstream_that_is_loaded_while_the_daemon_runs(daemon: Daemon) -> None:
    daemon.load("network-bitstream", "small")

    answered, right = logits(daemon)

    np.testing.assert_array_equal(answered, right)
    assert daemon.states("network-bitstream") == {"2": "READY"}


def test_a_network_that_is_loaded_moves_to_a_new_bitstream_when_it_is_asked_for_again(daemon: Daemon) -> None:
    daemon.load("small")
    logits(daemon)
    assert board(daemon).program == "network"

    daemon.load("network-bitstream")
    logits(daemon)
    assert board(daemon).program == "network"
    daemon.load("small")

    np.testing.assert_array_equal(*logits(daemon))
    assert board(daemon).program == f"network:{bitstream.read(version(daemon, 2)).sha256[:12]}"


def test_a_daemon_that_starts_loads_what_is_installed_for_its_board(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "repository")
    write_network(tmp_path / "repository", "small", random_plan(np.random.default_rng(1)))

    with running(tmp_path, device="fpga") as daemon:
        daemon.load("small")

        np.testing.assert_array_equal(*logits(daemon))
        assert daemon.states("network-bitstream") == {"2": "READY"}
        assert board(daemon).program == f"network:{bitstream.read(version(daemon, 2)).sha256[:12]}"


def test_one_that_is_damaged_keeps_a_daemon_from_nothing(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "repository")
    damaged(tmp_path / "repository" / "network-bitstream" / "2")
    write_network(tmp_path / "repository", "small", random_plan(np.random.default_rng(1)))

    with running(tmp_path, device="fpga") as daemon:
        daemon.load("small")

        np.testing.assert_array_equal(*logits(daemon))
        assert daemon.call("ServerReady").ready
        assert daemon.states("network-bitstream") == {"2": "UNAVAILABLE"}


def test_where_the_latest_is_damaged_the_one_before_is_loaded(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "repository")
    write_network(tmp_path / "repository", "small", random_plan(np.random.default_rng(1)))
    latest = tmp_path / "repository" / "latest"
    shutil.copytree(built / "network-bitstream", latest)
    (latest / "config.pbtxt").write_text('backend: "bitstream"')
    damaged(latest / "2")
    (latest / "2" / bitstream.FACTS).touch()

    with running(tmp_path, device="fpga") as daemon:
        daemon.load("small")

        np.testing.assert_array_equal(*logits(daemon))
        assert daemon.states("latest") == {"2": "UNAVAILABLE"}
        assert daemon.states("network-bitstream") == {"2": "READY"}
        assert board(daemon).program == f"network:{bitstream.read(version(daemon, 2)).sha256[:12]}"


def test_a_board_that_does_not_come_up_keeps_no_other_device_waiting(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "repository")
    write_network(tmp_path / "repository", "small", random_plan(np.random.default_rng(1)))
    config = tmp_path / "repository" / "small" / "config.pbtxt"
    config.write_text(config.read_text() + ' instance_group { name: "cpu" }')

    with stopped_worker("fpga-emulator-0") as stopped, running(tmp_path, device="fpga,cpu") as daemon:
        worker = stopped.result()
        daemon.load("small")

        np.testing.assert_array_equal(*logits(daemon))
        assert daemon.states("network-bitstream") == {"2": "LOADING"}
        worker.resume()


@contextlib.contextmanager
def stopped_worker(device: str) -> Iterator[Future[psutil.Process]]:
    """Stops the worker of a device as soon as there is one, while the daemon that starts it comes up."""

    found: list[psutil.Process] = []

    def stopped() -> bool:
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if device in process.cmdline():
                    process.suspend()
                    found.append(process)
        return bool(found)

    def stop() -> psutil.Process:
        eventually(stopped, 60, "the worker starts")
        return found[0]

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(stop)


def test_a_bitstream_answers_no_requests_itself(daemon: Daemon) -> None:
    daemon.load("network-bitstream")

    assert daemon.infer_refused(request(model="network-bitstream")) == (
        "INVALID_ARGUMENT",
        "model 'network-bitstream' is a bitstream, which answers nothing: ask a model that needs 'network'",
    )


def test_unloading_it_leaves_what_runs_on_it(daemon: Daemon) -> None:
    daemon.load("network-bitstream", "small")
    daemon.call("RepositoryModelUnload", model_name="network-bitstream")

    answered, right = logits(daemon)

    np.testing.assert_array_equal(answered, right)


def test_a_record_with_other_macros_than_the_binarys_is_noticed_before_anything_runs(daemon: Daemon) -> None:
    record = version(daemon, 2) / "bitstream.json"
    facts = json.loads(record.read_text())
    facts["defines"]["LANES"] = 16  # it was built with 32
    record.write_text(json.dumps(facts))
    daemon.load("network-bitstream", "small")

    for _ in range(2):
        with pytest.raises(grpc.RpcError) as refused:
            logits(daemon)
        assert "the bitstream was built with LANES=32, and bitstream.json says otherwise" in refused.value.details()
    log = (daemon.repository.parent / "daemon.log").read_text()
    assert "model 'small' failed: the bitstream was built with LANES=32, and bitstream.json says otherwise" in log
    assert "Traceback" not in log
    assert board(daemon).program == ""

    facts["defines"]["LANES"] = 32
    record.write_text(json.dumps(facts))
    (daemon.repository / "small" / "1" / "new").touch()
    daemon.load("network-bitstream", "small")
    np.testing.assert_array_equal(*logits(daemon))


def test_two_clients_with_different_programs_are_both_served_with_few_reprogrammings(daemon: Daemon) -> None:
    config = daemon.repository / "network-bitstream" / "config.pbtxt"
    written = config.read_text()
    network = random_plan(np.random.default_rng(3), height=17, width=17, blocks=(1,), channels=4)
    for number, name in ((1, "one"), (2, "two")):  # a network runs on the bitstream that is there when it is loaded
        write_network(daemon.repository, name, network)
        config.write_text(f"{written} version_policy {{ specific {{ versions: {number} }} }}")
        daemon.load("network-bitstream", name)
    images = random_images(np.random.default_rng(4), network, 1)
    right = reference.run(network, images)
    answers: dict[str, int] = {}

    def ask(name: str) -> None:
        message = request(tensor("image", images.shape, images.tobytes(), "UINT8"), model=name)
        for _ in range(REQUESTS):
            answer = daemon.infer(message)
            np.testing.assert_array_equal(np.frombuffer(answer.raw_output_contents[0], np.float32), right[0])
            answers[name] = answers.get(name, 0) + 1

    with ThreadPoolExecutor(2) as clients:
        for asked in [clients.submit(ask, name) for name in ("one", "two")]:
            asked.result()

    facts = board(daemon)
    assert answers == {"one": REQUESTS, "two": REQUESTS}
    assert facts.program.startswith("network:")
    assert 1 <= facts.reprogrammings < 2 * REQUESTS / 10  # in turn, each request would take one
    assert facts.reprogramming_ns > 0


@pytest.mark.parametrize("bitstream_first", [True, False])
def test_estimators_run_on_a_bitstream_of_their_family(daemon: Daemon, bitstream_first: bool) -> None:
    arguments = ["--family", "naive_bayes", "--define", "FEATURES=1024", "--repository", str(daemon.repository)]
    done = kernels("build", "--target", "emulator", *arguments)
    assert done.returncode == 0, done.stderr
    names = ["naive_bayes-bitstream", "naive_bayes_sums"]
    daemon.load(*(names if bitstream_first else reversed(names)))
    rows = np.arange(64, dtype=np.float32).reshape(4, 16)

    answer = daemon.infer(
        request(
            tensor("values", [64], rows.tobytes()),
            tensor("labels", [4], np.array([0, 1, 0, 1], np.int32).tobytes(), "INT32"),
            model="naive_bayes_sums", rows=4, features=16, classes=2,
        )
    )  # fmt: skip

    found = {one.name: content for one, content in zip(answer.outputs, answer.raw_output_contents, strict=True)}
    np.testing.assert_array_equal(np.frombuffer(found["sums"]).reshape(2, 16), [rows[0] + rows[2], rows[1] + rows[3]])


def cut_short(folder: Path) -> None:
    os.truncate(folder / bitstream.FILE, 1000)


def damaged(folder: Path) -> None:
    data = bytearray((folder / bitstream.FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / bitstream.FILE).write_bytes(data)


def for_another_board(folder: Path) -> None:
    facts = json.loads((folder / bitstream.FACTS).read_text())
    (folder / bitstream.FACTS).write_text(json.dumps(facts | {"board": "pac_s10_dc"}))


def built_with_macros_that_do_not_go_together(folder: Path) -> None:
    facts = json.loads((folder / bitstream.FACTS).read_text())
    facts["defines"]["LANES"] = 1
    (folder / bitstream.FACTS).write_text(json.dumps(facts))


def not_described(folder: Path) -> None:
    (folder / bitstream.FACTS).write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (cut_short, "has 1,000 bytes, "),
        (damaged, "is damaged: its SHA-256 is "),
        (for_another_board, "is for board 'pac_s10_dc', and this device is 'Intel(R) FPGA Emulation Device'"),
        (built_with_macros_that_do_not_go_together, "LANES (1) must be a multiple of VEC (16)"),
        (not_described, "describes no bitstream"),
    ],
)
def test_what_is_not_sound_is_refused_and_the_board_keeps_what_it_had(
    daemon: Daemon, spoil: object, reason: str
) -> None:
    daemon.load("network-bitstream", "small")
    shutil.copytree(version(daemon, 1), version(daemon, 3))
    assert callable(spoil)
    spoil(version(daemon, 3))

    code, message = daemon.refusal("RepositoryModelLoad", model_name="network-bitstream")

    assert code == "INVALID_ARGUMENT"
    assert reason in message
    assert daemon.states("network-bitstream")["2"] == "READY"
    answered, right = logits(daemon)
    np.testing.assert_array_equal(answered, right)


def test_a_file_that_is_no_program_is_refused_by_the_driver(daemon: Daemon) -> None:
    bitstream.write(version(daemon, 1), b"nothing" * 100, bitstream.read(version(daemon, 1)))
    shutil.rmtree(version(daemon, 2))

    code, message = daemon.refusal("RepositoryModelLoad", model_name="network-bitstream")

    assert code == "INVALID_ARGUMENT"
    assert "the driver of 'Intel(R) FPGA Emulation Device' refuses the bitstream" in message


def test_one_that_crashes_the_driver_is_refused_each_time_and_the_board_stays_usable(daemon: Daemon) -> None:
    daemon.load("small")
    bitstream.write(version(daemon, 2), bytes(range(20)), bitstream.read(version(daemon, 2)))

    for _ in range(4):
        code, _ = daemon.refusal("RepositoryModelLoad", model_name="network-bitstream")
        assert code == "INVALID_ARGUMENT"

    np.testing.assert_array_equal(*logits(daemon))


def test_a_bitstream_from_elsewhere_is_checked_before_it_is_installed(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built / "network-bitstream", tmp_path / "network-bitstream")
    damaged(tmp_path / "network-bitstream" / "1")
    install = [sys.executable, "-m", "spark_accel", "model", "install", "--repository", str(tmp_path / "there")]

    done = subprocess.run([*install, str(tmp_path / "network-bitstream")], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "is damaged: its SHA-256 is" in done.stderr
    assert not list((tmp_path / "there").iterdir())
