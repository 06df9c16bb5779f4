"""One daemon with two emulated boards and the processor: who runs what, through a real daemon."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import eventually
from daemons import Daemon, running, write_model
from infer_requests import request, tensor, x

from spark_accel.daemon import loaders
from spark_accel.protocol import accel_pb2, accel_pb2_grpc

EXAMPLES = Path(__file__).parents[1] / "examples" / "own_kernels"
BOARDS = ["fpga-emulator-0", "fpga-emulator-1"]
IDENTITY = """
    backend: "identity" max_batch_size: 8
    input { name: "x" data_type: TYPE_FP32 dims: -1 }
    output { name: "y" data_type: TYPE_FP32 dims: -1 }"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    if loaders.EMULATOR not in loaders.names():
        pytest.skip("no FPGA emulator: pip install 'spark-accel[fpga]'")
    folder = tmp_path_factory.mktemp("daemon")
    with running(folder, device="fpga,cpu", CL_CONFIG_CPU_EMULATE_DEVICES="2") as daemon:
        write_model(daemon.repository, "everywhere", IDENTITY)
        write_model(daemon.repository, "board", f'{IDENTITY} instance_group {{ name: "{BOARDS[1]}" }}')
        write_model(daemon.repository, "nowhere", f'{IDENTITY} instance_group {{ name: "gpu" }}')
        daemon.load("everywhere", "board")
        yield daemon


def devices(daemon: Daemon) -> dict[str, accel_pb2.Device]:
    answer = accel_pb2_grpc.NodeStub(daemon.channel).Devices(accel_pb2.DevicesRequest(), timeout=60)
    return {device.id: device for device in answer.devices}


def test_each_device_has_a_worker_of_its_own(daemon: Daemon) -> None:
    found = devices(daemon)

    assert sorted(found) == ["cpu-0", *BOARDS]
    eventually(lambda: all(device.worker_pid for device in devices(daemon).values()))
    assert len({device.worker_pid for device in devices(daemon).values()}) == 3


@pytest.mark.parametrize("device", ["cpu-0", *BOARDS])
def test_a_request_runs_on_the_device_that_it_names(daemon: Daemon, device: str) -> None:
    before = {id: found.executions for id, found in devices(daemon).items()}

    for _ in range(3):
        daemon.infer(request(x(), model="everywhere", device=device))

    after = {id: found.executions - before[id] for id, found in devices(daemon).items()}
    assert after == {id: 3 if id == device else 0 for id in before}


def test_requests_for_a_busy_device_do_not_hold_up_others(daemon: Daemon) -> None:
    busy = daemon.stub.ModelInfer.future(request(x(), model="everywhere", device=BOARDS[0], delay_ms=600_000))
    queued = daemon.stub.ModelInfer.future(request(x(), model="everywhere", device=BOARDS[0]))

    daemon.infer(request(x(), model="everywhere"))
    daemon.infer(request(x(), model="everywhere", device=BOARDS[1]))

    assert not queued.done()
    queued.cancel()
    busy.cancel()


def test_a_device_that_the_daemon_does_not_drive_is_named(daemon: Daemon) -> None:
    code, message = daemon.infer_refused(request(x(), model="everywhere", device="fpga-7"))

    assert code == "INVALID_ARGUMENT"
    assert message.startswith("device 'fpga-7' is not one that this daemon drives: ")
    assert all(device in message for device in ("cpu-0", *BOARDS))


def test_a_model_has_instances_where_its_configuration_says(daemon: Daemon) -> None:
    daemon.infer(request(x(), model="board"))
    daemon.infer(request(x(), model="board", device=BOARDS[1]))

    assert daemon.infer_refused(request(x(), model="board", device="cpu-0")) == (
        "INVALID_ARGUMENT",
        "model 'board' has no instance on device 'cpu-0'; see instance_group in its configuration",
    )


def test_a_model_whose_devices_are_not_there_can_not_be_loaded(daemon: Daemon) -> None:
    code, message = daemon.refusal("RepositoryModelLoad", model_name="nowhere")

    assert code == "INVALID_ARGUMENT"
    assert "instance_group of model 'nowhere' means none of the devices that this daemon drives: " in message


def test_a_board_changes_between_a_kernel_of_a_users_and_the_estimators(daemon: Daemon) -> None:
    folder = daemon.repository / "vector_add"
    shutil.copytree(EXAMPLES / "vector_add", folder)
    daemon.load("vector_add", "naive_bayes_sums")
    a = np.arange(4, dtype=np.float32)
    rows = np.arange(64, dtype=np.float32).reshape(4, 16)
    added = request(tensor("a", [4], a.tobytes()), tensor("b", [4], a.tobytes()), model="vector_add", device=BOARDS[1])
    sums = request(
        tensor("values", [64], rows.tobytes()),
        tensor("labels", [4], np.array([0, 1, 0, 1], np.int32).tobytes(), "INT32"),
        model="naive_bayes_sums", device=BOARDS[1], rows=4, features=16, classes=2,
    )  # fmt: skip

    for _ in range(3):
        answer = daemon.infer(added)
        np.testing.assert_array_equal(np.frombuffer(answer.raw_output_contents[0], np.float32), 2 * a)
        answer = daemon.infer(sums)
        found = {one.name: content for one, content in zip(answer.outputs, answer.raw_output_contents, strict=True)}
        np.testing.assert_array_equal(
            np.frombuffer(found["sums"]).reshape(2, 16), [rows[0] + rows[2], rows[1] + rows[3]]
        )

    board = devices(daemon)[BOARDS[1]]
    assert board.program == "naive_bayes"
    assert board.reprogrammings == 5
    assert board.reprogramming_ns > 0
