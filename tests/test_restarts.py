"""A worker that ends is replaced by one that answers as it did: what the next process loads, and what ends none."""

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import eventually
from daemons import Daemon, running
from infer_requests import request, tensor
from kernel_models import BEHIND, CRASH, TWICE, source, write_kernel
from nodes import gone
from plans import random_plan
from test_bitstreams import SMALL, kernels, logits, write_network
from tritonclient.grpc import service_pb2 as pb

from spark_accel.daemon import kernel_trial, loaders
from spark_accel.daemon.devices import discover_in_subprocess
from spark_accel.daemon.model_config import ModelLoadError
from spark_accel.protocol import accel_pb2, accel_pb2_grpc

ONES = np.ones(4, np.float32)
# 8 to the power of 6 additions: more than compilers take, and not all of them say so.
BOMB = (
    "#define A0 x[i]\n"
    + "".join(f"#define A{n} {' + '.join([f'A{n - 1}'] * 8)}\n" for n in range(1, 7))
    + source("bomb", "y[i] = A6;")
)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    write_kernel(tmp_path / "repository", "twice", TWICE)
    with running(tmp_path, device="cpu") as made:
        made.load("twice")
        yield made


def device(daemon: Daemon) -> accel_pb2.Device:
    (found,) = accel_pb2_grpc.NodeStub(daemon.channel).Devices(accel_pb2.DevicesRequest(), timeout=30).devices
    return found


def ask(daemon: Daemon, model: str) -> list[float]:
    answer = daemon.infer(request(tensor("x", [4], ONES.tobytes()), model=model))
    return list(np.frombuffer(answer.raw_output_contents[0], np.float32))


def _load(name: str) -> pb.RepositoryModelLoadRequest:
    return pb.RepositoryModelLoadRequest(model_name=name)


def _copy(bitstream: Path, to: Path, version: str) -> None:
    to.mkdir(exist_ok=True)
    shutil.copy(bitstream / "config.pbtxt", to)
    shutil.copytree(bitstream / "1", to / version)


def kill_worker(daemon: Daemon) -> None:
    before = device(daemon)
    os.kill(before.worker_pid, signal.SIGKILL)
    eventually(lambda: gone(before.worker_pid) and device(daemon).restarts == before.restarts + 1)


def test_source_that_crashes_the_compiler_is_refused_and_ends_no_worker(daemon: Daemon) -> None:
    before = device(daemon)
    write_kernel(daemon.repository, "bomb", BOMB)

    status, text = daemon.refusal("RepositoryModelLoad", model_name="bomb")

    assert status == "INVALID_ARGUMENT"
    assert "the kernel of model 'bomb' crashes the compiler of device cpu-0 (SIG" in text
    assert device(daemon) == before


def test_source_that_keeps_the_compiler_busy_is_refused_and_leaves_no_process(tmp_path: Path) -> None:
    folder = write_kernel(tmp_path, "twice", TWICE)
    (cpu,) = (one for one in discover_in_subprocess() if one.id == "cpu-0")
    model = {"name": "twice", "folder": str(folder / "1"), "config": {"backend": "opencl"}}

    with pytest.raises(ModelLoadError, match=r"the kernel of model 'twice' did not compile within 0.01 s"):
        asyncio.run(kernel_trial.run(cpu, model, 0.01))


def test_a_kernel_that_crashes_its_worker_during_another_load_is_named_and_holds_up_nobody(daemon: Daemon) -> None:
    write_kernel(daemon.repository, "crash", CRASH)
    for number in range(4):
        write_kernel(daemon.repository, f"other{number}", f"{TWICE} // {number}", parameters={"kernel": "twice"})
    daemon.load("crash")

    for number in range(4):
        message = daemon.stub.RepositoryModelLoad.future(_load(f"other{number}"), timeout=60)
        status, text = daemon.infer_refused(request(tensor("x", [4], ONES.tobytes()), model="crash"))
        message.result()

        assert status == "INTERNAL", text
        assert "in the kernel of model 'crash'" in text
        assert ask(daemon, "twice") == ask(daemon, f"other{number}") == [2, 2, 2, 2]


def test_a_load_right_after_a_kernel_wrote_out_of_bounds_waits_for_the_next_worker(daemon: Daemon) -> None:
    write_kernel(daemon.repository, "behind", BEHIND)
    write_kernel(daemon.repository, "other", TWICE, parameters={"kernel": "twice"})
    daemon.load("behind")
    assert daemon.infer_refused(request(tensor("x", [4], ONES.tobytes()), model="behind"))[0] == "INTERNAL"

    daemon.load("other")

    assert ask(daemon, "other") == [2, 2, 2, 2]


def test_files_that_have_changed_since_the_load_are_not_run_by_the_next_worker(daemon: Daemon) -> None:
    write_kernel(daemon.repository, "twice", TWICE.replace("2 *", "3 *"))

    kill_worker(daemon)

    status, text = daemon.infer_refused(request(tensor("x", [4], ONES.tobytes()), model="twice"))
    assert (status, text) == ("UNAVAILABLE", "model 'twice' could not be loaded again after a restart")
    assert not daemon.call("ModelReady", name="twice").ready
    daemon.load("twice")
    assert ask(daemon, "twice") == [3, 3, 3, 3]


@pytest.fixture(scope="module")
def bitstreams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if loaders.EMULATOR not in loaders.names():
        pytest.skip("no FPGA emulator: pip install 'spark-accel[fpga]'")
    repository = tmp_path_factory.mktemp("repository")
    done = kernels("build", "--target", "emulator", *SMALL, "--repository", str(repository))
    assert done.returncode == 0, done.stderr
    return repository


@pytest.mark.parametrize("then", ["replaced", "unloaded"])
def test_a_network_stays_on_the_bitstream_that_it_was_loaded_with(bitstreams: Path, tmp_path: Path, then: str) -> None:
    with running(tmp_path, device="fpga") as daemon:
        first = bitstreams / "network-bitstream"
        _copy(first, daemon.repository / "network-bitstream", "1")
        write_network(daemon.repository, "small", random_plan(np.random.default_rng(1)))
        daemon.load("network-bitstream", "small")
        logits(daemon)
        program = device(daemon).program
        if then == "replaced":
            _copy(first, daemon.repository / "network-bitstream", "2")
            daemon.load("network-bitstream")
        else:
            daemon.call("RepositoryModelUnload", model_name="network-bitstream")
            eventually(lambda: daemon.states("network-bitstream") == {"1": "UNAVAILABLE"})

        kill_worker(daemon)

        answered, right = logits(daemon)
        np.testing.assert_array_equal(answered, right)
        assert device(daemon).program == program != ""


def test_a_network_whose_bitstream_is_gone_is_refused_by_the_next_worker(bitstreams: Path, tmp_path: Path) -> None:
    with running(tmp_path, device="fpga") as daemon:
        _copy(bitstreams / "network-bitstream", daemon.repository / "network-bitstream", "1")
        write_network(daemon.repository, "small", random_plan(np.random.default_rng(1)))
        daemon.load("network-bitstream", "small")
        (daemon.repository / "network-bitstream" / "1" / "fpga.bin").unlink()

        kill_worker(daemon)

        with pytest.raises(Exception, match="model 'small' could not be loaded again after a restart"):
            logits(daemon)
        assert daemon.states("small") == {"1": "UNAVAILABLE"}
        daemon.load("small")  # the emulator can compile
        np.testing.assert_array_equal(*logits(daemon))


def test_what_could_not_be_loaded_again_is_loaded_when_it_is_asked_for(daemon: Daemon) -> None:
    away = daemon.repository.rename(daemon.repository.with_name("away"))
    kill_worker(daemon)
    eventually(lambda: daemon.infer_refused(request(tensor("x", [4], ONES.tobytes()), model="twice"))[0])
    away.rename(daemon.repository)

    daemon.load("twice")

    assert ask(daemon, "twice") == [2, 2, 2, 2]
