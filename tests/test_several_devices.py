"""Two devices serve one queue. Both are the reference here: a node of tests need not have two others."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from spark_accel.daemon.device_worker import Worker
from spark_accel.daemon.devices import REFERENCE
from spark_accel.daemon.model_config import LoadedModel
from spark_accel.daemon.regions import Regions
from spark_accel.daemon.request import InferenceRequest, InputTensor, RequestError
from spark_accel.daemon.scheduler import Scheduler
from spark_accel.daemon.statistics import Statistics
from spark_accel.daemon.supervisor import Supervisor
from spark_accel.daemon.worker_process import Limits

CONFIG = 'backend: "identity" max_batch_size: 1 input { name: "x" } output { name: "y" }'


def request(delay_ms: int = 0) -> InferenceRequest:
    tensor = InputTensor("x", "UINT8", (1, 4), b"abcd")
    return InferenceRequest("echo", 1, "", (tensor,), (), {"delay_ms": delay_ms})


def on_two_devices(folder: Path, use: Callable[[Scheduler, Supervisor], Awaitable[None]]) -> None:
    """Runs `use` with a scheduler that has loaded the model on two workers."""

    async def run() -> None:
        scheduler = Scheduler(Statistics())
        supervisor = Supervisor("reference", "auto", "cpu", scheduler.workers_changed)
        supervisor.workers += [Worker(REFERENCE, "auto", Limits(), scheduler.workers_changed) for _ in range(2)]
        scheduler.attach(supervisor, Regions(folder, 2**20, scheduler.in_use, scheduler.region_closed))
        for worker in supervisor.workers:
            worker.start()
        config = text_format.Parse(CONFIG, model_config_pb2.ModelConfig())
        try:
            await scheduler.load(LoadedModel("echo", 1, folder, config))
            await asyncio.wait_for(use(scheduler, supervisor), 60)
        finally:
            await supervisor.close()
            await scheduler.close()

    asyncio.run(run())


def test_one_device_goes_on_while_the_other_is_busy(tmp_path: Path) -> None:
    async def use(scheduler: Scheduler, supervisor: Supervisor) -> None:
        busy = asyncio.create_task(scheduler.infer(request(delay_ms=60_000)))
        for _ in range(5):
            await scheduler.infer(request())
        assert not busy.done()
        assert sorted(worker.free for worker in supervisor.workers) == [False, True]
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)

    on_two_devices(tmp_path, use)


def test_a_dead_worker_fails_its_own_requests_only(tmp_path: Path) -> None:
    async def use(scheduler: Scheduler, supervisor: Supervisor) -> None:
        lost = asyncio.create_task(scheduler.infer(request(delay_ms=60_000)))
        kept = asyncio.create_task(scheduler.infer(request(delay_ms=1000)))
        await asyncio.sleep(0)  # both are with their workers now
        os.kill(supervisor.workers[0].facts().worker_pid, signal.SIGKILL)

        with pytest.raises(RequestError) as raised:
            await lost

        assert (raised.value.code.name, raised.value.message) == (
            "UNAVAILABLE",
            "device reference ended (signal 9, SIGKILL) and is started again; send the request again",
        )
        assert (await kept).outputs[0].data == b"abcd"
        assert (await scheduler.infer(request())).outputs[0].data == b"abcd"

    on_two_devices(tmp_path, use)
