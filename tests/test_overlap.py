"""On a device with memory of its own a request is copied in while another one runs; on the FPGA emulator, for real."""

import asyncio
import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from conftest import eventually
from daemons import Daemon, running
from google.protobuf import text_format
from google.protobuf.json_format import MessageToDict
from infer_requests import request, tensor
from kernel_models import source, write_kernel
from nodes import gone
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.model_config_pb2 import ModelConfig

from spark_accel.daemon import batch_messages, loaders
from spark_accel.daemon.devices import REFERENCE
from spark_accel.daemon.link import Header
from spark_accel.daemon.request import InferenceRequest, InputTensor
from spark_accel.daemon.worker_process import Limits, WorkerProcess
from spark_accel.protocol import accel_pb2, accel_pb2_grpc

BOARD = "fpga-emulator-0"
# y = 2 x, after as many reads of memory as the first x says.
SLOW = source("slow", "volatile __global float *v = x; for (int k = 0; k < v[0]; k++) {} if (i < n) y[i] = 2 * v[i];")
LONG, SHORT = 3e8, 1.0  # seconds and nothing

pytestmark = pytest.mark.skipif(loaders.EMULATOR not in loaders.names(), reason="pip install 'spark-accel[fpga]'")


def values(reads: float) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    return np.array([reads, 1, 2], np.float32)


def test_a_batch_is_read_while_the_one_before_runs_and_waits_for_its_end(tmp_path: Path) -> None:
    folder = write_kernel(tmp_path, "slow", SLOW)
    config = MessageToDict(
        text_format.Parse((folder / "config.pbtxt").read_text(), ModelConfig()), preserving_proto_field_name=True
    )
    model: Header = {"name": "slow", "folder": str(folder / "1"), "config": config}
    answers: list[tuple[Header, bytes]] = []

    async def run() -> None:
        device = dataclasses.replace(REFERENCE, id=BOARD, loader=loaders.EMULATOR)
        process = await WorkerProcess.start(device, "auto", Limits())
        try:
            await process.hello()
            assert "error" not in await process.ask({"op": "load", "key": 1, **model})
            loop = asyncio.get_running_loop()
            ends = [loop.create_future() for _ in range(3)]
            for end, reads in zip(ends, (SHORT, LONG, SHORT), strict=True):  # the first has the board programmed

                def done(answer: Header | None, data: memoryview, end: asyncio.Future[None] = end, **_: bool) -> None:
                    assert answer is not None
                    answers.append((answer, bytes(data)))
                    end.set_result(None)

                if not process.takes_ahead:
                    assert process.idle
                inputs = (InputTensor("x", "FP32", (3,), values(reads).tobytes()),)
                process.execute(*batch_messages.encode(1, [InferenceRequest("slow", 1, "", inputs, ())]), {}, done)
                if end is ends[0]:
                    await end
            assert not process.idle
            assert not process.takes_ahead
            await asyncio.gather(*ends)
        finally:
            process.close()
            await process.ended()

    asyncio.run(run())

    (_, _), (first, first_data), (second, second_data) = answers
    assert [np.frombuffer(data, np.float32).tolist() for data in (first_data, second_data)] == [
        (2 * values(reads)).tolist() for reads in (LONG, SHORT)
    ]
    assert "waited_ns" not in first
    # It was there before the other one had ended, and its own time begins after that.
    assert second["waited_ns"] > first["times"][1] / 2
    assert second["times"][1] < first["times"][1] / 2


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), device="fpga") as daemon:
        write_kernel(daemon.repository, "slow", SLOW)
        daemon.load("slow")
        daemon.infer(asked(SHORT))  # the board has its program
        yield daemon


def asked(reads: float) -> pb.ModelInferRequest:
    return request(tensor("x", [3], values(reads).tobytes()), model="slow")


def send(daemon: Daemon, reads: float) -> grpc.Future:
    return daemon.stub.ModelInfer.future(asked(reads), timeout=100)


def board(daemon: Daemon) -> accel_pb2.Device:
    (found,) = accel_pb2_grpc.NodeStub(daemon.channel).Devices(accel_pb2.DevicesRequest(), timeout=30).devices
    return found


def test_one_request_is_sent_ahead_and_no_more(daemon: Daemon) -> None:
    before = board(daemon).executions
    calls = [send(daemon, LONG) for _ in range(4)]

    eventually(lambda: board(daemon).executions == before + 2)
    assert not any(call.done() for call in calls)
    assert [call.result().raw_output_contents[0] for call in calls] == [(2 * values(LONG)).tobytes()] * 4
    assert board(daemon).executions == before + 4


def test_what_was_sent_ahead_survives_its_worker(daemon: Daemon) -> None:
    before = board(daemon)
    runs = send(daemon, LONG)
    eventually(lambda: board(daemon).executions == before.executions + 1)
    ahead = send(daemon, SHORT)
    eventually(lambda: board(daemon).executions == before.executions + 2)

    os.kill(before.worker_pid, signal.SIGKILL)

    assert ahead.result().raw_output_contents[0] == (2 * values(SHORT)).tobytes()
    assert runs.code() == grpc.StatusCode.UNAVAILABLE
    eventually(lambda: gone(before.worker_pid))
