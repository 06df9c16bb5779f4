"""Worker processes: what they compute, what they refuse, and how the daemon notices that they end or hang."""

import asyncio
import dataclasses
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import eventually
from google.protobuf import text_format
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from kernel_models import ENDLESS, write_kernel
from nodes import gone, write_network
from plans import random_images
from tritonclient.grpc.model_config_pb2 import ModelConfig

from spark_accel.daemon import batch_messages, grpc_messages, worker_environment
from spark_accel.daemon.backends import Backends
from spark_accel.daemon.batch_request import BatchRequest, Input
from spark_accel.daemon.device_worker import Worker
from spark_accel.daemon.devices import REFERENCE
from spark_accel.daemon.link import Header
from spark_accel.daemon.model_config import ModelLoadError
from spark_accel.daemon.network_backend import top_classes
from spark_accel.daemon.request import (
    InferenceRequest,
    InferenceResult,
    InputTensor,
    RegionSlice,
    RequestedOutput,
    RequestError,
)
from spark_accel.daemon.worker_process import Limits, WorkerProcess
from spark_accel.networks import reference

IDENTITY: Header = {
    "name": "identity",
    "folder": str(Path(__file__).with_name("none")),
    "config": {"backend": "identity", "input": [{"name": "x"}], "output": [{"name": "y"}]},
}


IMAGE = {"name": "image", "data_type": "TYPE_UINT8", "dims": ["33", "29", "3"]}


def network_model(repository: Path) -> Header:
    config: Header = {
        "backend": "network",
        "max_batch_size": 8,
        "input": [IMAGE],
        "output": [
            {"name": "logits", "data_type": "TYPE_FP32", "dims": ["11"]},
            {"name": "index", "data_type": "TYPE_INT32"},
            {"name": "score", "data_type": "TYPE_FP32"},
        ],
    }
    return {"name": "tiny", "folder": str(repository / "tiny" / "1"), "config": config}


def with_process(
    use: Callable[[WorkerProcess], Awaitable[Any]], limits: Limits | None = None, device: str = REFERENCE.id
) -> Any:  # noqa: ANN401
    """What `use` returns for a running process, which is ended afterwards."""

    async def run() -> object:
        process = await WorkerProcess.start(dataclasses.replace(REFERENCE, id=device), "auto", limits or Limits())
        await process.hello()
        try:
            return await use(process)
        finally:
            process.close()
            await process.ended()

    return asyncio.run(run())


def execute(
    process: WorkerProcess,
    *requests: InferenceRequest,
    files: dict[int, int] | None = None,
    limit: float | None = None,
) -> "asyncio.Future[list[InferenceResult | RequestError] | None]":
    """The outcomes of a batch of model 1; None if the process ended first."""
    future: asyncio.Future[list[InferenceResult | RequestError] | None] = asyncio.get_running_loop().create_future()

    def done(answer: Header | None, data: memoryview, **_: bool) -> None:
        future.set_result(None if answer is None else list(batch_messages.decode(answer, data, len(requests))))

    process.execute(*batch_messages.encode(1, requests), files or {}, done, limit)
    return future


def run(model: Header, *requests: InferenceRequest, files: dict[int, int] | None = None) -> list[Any]:
    """The outcomes of a batch on a process of its own."""

    async def use(process: WorkerProcess) -> object:
        loaded = await process.ask({"op": "load", "key": 1, **model})
        assert "error" not in loaded, loaded
        return await execute(process, *requests, files=files)

    outcomes: list[Any] = with_process(use)
    return outcomes


def x(data: bytes | RegionSlice, datatype: str = "FP32", elements: int = 4, **parameters: int) -> InferenceRequest:
    tensor = InputTensor("x", datatype, (1, elements), data)
    return InferenceRequest("identity", 1, "", (tensor,), (), parameters)


def image(data: bytes, batch: int, *outputs: RequestedOutput, **parameters: Any) -> InferenceRequest:  # noqa: ANN401
    tensor = InputTensor("image", "UINT8", (batch, 33, 29, 3), data)
    return InferenceRequest("tiny", 1, "", (tensor,), outputs, parameters, batch=batch)


def values(result: InferenceResult) -> dict[str, np.ndarray[Any, Any]]:
    """The inline outputs as arrays."""
    dtypes = {"FP32": np.float32, "INT32": np.int32}
    return {
        output.name: np.frombuffer(output.data, dtypes[output.datatype]).reshape(output.shape)
        for output in result.outputs
        if output.data is not None
    }


def test_a_batch_of_several_requests_gives_each_its_own_answer(tmp_path: Path) -> None:
    network = write_network(tmp_path)
    images = random_images(np.random.default_rng(0), network, 6)
    logits = reference.run(network, images)

    first, second, third = run(
        network_model(tmp_path),
        image(images[:1].tobytes(), 1, top=3),
        image(images[1:4].tobytes(), 3),
        image(images[4:].tobytes(), 2, RequestedOutput("score"), top=1),
    )

    assert list(values(first)) == ["logits", "index", "score"]
    assert np.array_equal(values(first)["index"], np.argsort(-logits[:1], axis=1, kind="stable")[:, :3])
    assert list(values(second)) == ["logits"]
    assert np.array_equal(values(second)["logits"], logits[1:4])
    assert list(values(third)) == ["score"]
    assert values(third)["score"].shape == (2, 1)


@pytest.mark.parametrize("top", [0, -1, 12, True, "3", 2.0])
def test_a_top_that_the_network_can_not_give_is_refused_alone(tmp_path: Path, top: object) -> None:
    network = write_network(tmp_path)
    data = random_images(np.random.default_rng(0), network, 1).tobytes()

    bad, good = run(network_model(tmp_path), image(data, 1, top=top), image(data, 1))

    assert isinstance(bad, RequestError)
    assert (bad.code.name, bad.message) == (
        "INVALID_ARGUMENT",
        f"request parameter 'top' is {top!r}, expected an integer from 1 to 11",
    )
    assert isinstance(good, InferenceResult)


def test_best_classes_without_top_are_refused(tmp_path: Path) -> None:
    network = write_network(tmp_path)
    data = random_images(np.random.default_rng(0), network, 1).tobytes()

    (outcome,) = run(network_model(tmp_path), image(data, 1, RequestedOutput("index")))

    assert outcome.message == "output 'index' needs the request parameter 'top', the number of classes wanted"


@given(st.lists(st.lists(st.integers(-3, 3), min_size=5, max_size=5), min_size=1, max_size=4), st.integers(1, 5))
def test_best_classes_come_in_order_of_logits_then_index_with_softmax_scores(rows: list[list[int]], top: int) -> None:
    index, score = top_classes(np.array(rows, np.float32), top)

    for row, classes, scores in zip(rows, index, score, strict=True):
        assert list(classes) == sorted(range(5), key=lambda one: (-row[one], one))[:top]
        softmax = np.exp(np.array(row, np.float64)) / np.exp(np.array(row, np.float64)).sum()
        np.testing.assert_allclose(scores, softmax[classes], rtol=1e-6)


def test_huge_logits_give_finite_scores() -> None:
    _, score = top_classes(np.array([[3e38, -3e38, 0]], np.float32), 3)

    assert score.tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            [IMAGE | {"dims": ["33", "30", "3"]}],
            "'image' has dims [33, 30, 3] in config.pbtxt, its network has [33, 29, 3]",
        ),
        ([IMAGE | {"data_type": "TYPE_FP32"}], "'image' is TYPE_FP32 in config.pbtxt, a network's is TYPE_UINT8"),
        ([IMAGE | {"optional": True}], "'image' is TYPE_UINT8, optional in config.pbtxt, a network's is TYPE_UINT8"),
        ([], "config.pbtxt of a network lacks 'image'"),
    ],
)
def test_a_configuration_that_is_not_the_networks_is_refused(
    tmp_path: Path, inputs: list[Header], message: str
) -> None:
    write_network(tmp_path)
    model = network_model(tmp_path)
    model["config"]["input"] = inputs

    answer = with_process(lambda process: process.ask({"op": "load", "key": 1, **model}))

    assert answer["error"] == f"Invalid argument: {message}"


def test_what_is_no_network_is_refused_with_its_file(tmp_path: Path) -> None:
    write_network(tmp_path)
    (tmp_path / "tiny" / "1" / "network.safetensors").write_bytes(b"\xff" * 100)

    answer = with_process(lambda process: process.ask({"op": "load", "key": 1, **network_model(tmp_path)}))

    assert "network.safetensors is not a usable network" in answer["error"]


def test_large_tensors_go_through_inline_and_by_region(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(3_000_000)
    (tmp_path / "region").write_bytes(b"\0" * 4096 + data)
    descriptor = os.open(tmp_path / "region", os.O_RDWR)

    outcomes = run(
        IDENTITY,
        x(data, elements=750_000),
        x(RegionSlice(7, 4096, len(data)), elements=750_000),
        files={7: descriptor},
    )

    os.close(descriptor)
    assert [outcome.outputs[0].data == data for outcome in outcomes] == [True, True]


def test_outputs_inline_are_refused_above_the_size_of_a_message_also_those_of_a_batch_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpc_messages, "MAX_BYTES", 100)
    identity = Backends(None, "auto").load("identity", Path("/"), IDENTITY["config"])
    elements = (26, 20, 5, 6)
    requests = [BatchRequest({"x": Input("x", "FP32", (n,), bytes(4 * n))}, {}, {}, 1, "") for n in elements]

    outcomes = identity.begin(requests, lambda: None).result()

    codes = [one.code.name if isinstance(one, RequestError) else None for one in outcomes]
    assert codes == ["RESOURCE_EXHAUSTED", None, None, "UNAVAILABLE"]


def test_strings_in_a_region_are_checked_before_they_are_used(tmp_path: Path) -> None:
    (tmp_path / "region").write_bytes(b"\xff\xff\xff\xffabcd")
    descriptor = os.open(tmp_path / "region", os.O_RDWR)

    (outcome,) = run(IDENTITY, x(RegionSlice(7, 0, 8), "BYTES", 1), files={7: descriptor})

    os.close(descriptor)
    assert outcome.message.startswith("incomplete string data for inference input 'x', expecting string of length 429")


def test_the_process_ends_when_its_sockets_close_even_if_it_runs_a_batch() -> None:
    async def use(process: WorkerProcess) -> int:
        await process.ask({"op": "load", "key": 1, **IDENTITY})
        execute(process, x(bytes(16), delay_ms=60_000))
        return process.pid

    pid = with_process(use)

    assert gone(pid)


def test_a_killed_process_tells_those_who_wait() -> None:
    async def use(process: WorkerProcess) -> object:
        await process.ask({"op": "load", "key": 1, **IDENTITY})
        answer = execute(process, x(bytes(16), delay_ms=60_000))
        os.kill(process.pid, signal.SIGKILL)
        await process.ended()
        return await answer, process.ending, process.idle

    assert with_process(use) == (None, "ended (signal 9, SIGKILL)", False)


@pytest.mark.parametrize(
    ("limits", "stopped", "ending"),
    [
        (Limits(ping=0.3), True, "did not answer to 'ping' within 0.3 s"),
        (Limits(ping=1.0, execute=3.0), False, "did not finish a batch within 3 s"),
    ],
    ids=["gives no sign of life", "takes too long"],
)
def test_a_hanging_process_is_killed(limits: Limits, stopped: bool, ending: str) -> None:
    async def use(process: WorkerProcess) -> object:
        await process.ask({"op": "load", "key": 1, **IDENTITY})
        answer = execute(process, x(bytes(16), delay_ms=60_000))
        if stopped:
            os.kill(process.pid, signal.SIGSTOP)
        await process.ended()
        return await answer, process.ending, gone(process.pid)

    assert with_process(use, limits) == (None, ending, True)


@pytest.mark.parametrize("ping", [20.0, 1.0], ids=["before it is asked for a sign of life", "after"])
def test_a_batch_with_a_limit_of_its_own_ends_the_process_there(ping: float) -> None:
    async def use(process: WorkerProcess) -> object:
        await process.ask({"op": "load", "key": 1, **IDENTITY})
        assert await execute(process, x(bytes(16)), limit=60) is not None
        answer = execute(process, x(bytes(16), delay_ms=60_000), limit=3)
        await process.ended()
        return await answer, process.ending, process.overran, process.crashed

    assert with_process(use, Limits(ping=ping)) == (None, "did not finish a batch within 3 s", True, False)


def test_a_kernel_of_a_users_that_runs_lets_its_worker_give_a_sign_of_life(tmp_path: Path) -> None:
    write_kernel(tmp_path, "endless", ENDLESS)
    config = text_format.Parse((tmp_path / "endless" / "config.pbtxt").read_text(), ModelConfig())
    model: Header = {
        "name": "endless",
        "folder": str(tmp_path / "endless" / "1"),
        "config": MessageToDict(config, preserving_proto_field_name=True),
    }

    async def use(process: WorkerProcess) -> object:
        assert (await process.ask({"op": "load", "key": 1, **model}))["program"] == ""
        tensor = InputTensor("x", "FP32", (4,), bytes(16))
        execute(process, InferenceRequest("endless", 1, "", (tensor,), ()), limit=5)
        await process.ended()
        return process.ending

    assert with_process(use, Limits(ping=1.5), "cpu-0") == "did not finish a batch within 5 s"


def test_a_slow_batch_of_a_living_process_is_left_alone() -> None:
    async def use(process: WorkerProcess) -> object:
        await process.ask({"op": "load", "key": 1, **IDENTITY})
        return await execute(process, x(bytes(16), delay_ms=3000))

    assert with_process(use, Limits(ping=1.0)) is not None


def with_worker(use: Callable[[Worker], Awaitable[Any]], device: str = REFERENCE.id) -> Any:  # noqa: ANN401
    async def run() -> object:
        worker = Worker(dataclasses.replace(REFERENCE, id=device), "auto", Limits(), lambda: None)
        worker.start()
        try:
            return await use(worker)
        finally:
            await worker.close()

    return asyncio.run(run())


def test_a_new_process_loads_the_models_of_the_old_one() -> None:
    async def use(worker: Worker) -> object:
        await worker.load(1, IDENTITY)
        os.kill(worker.facts().worker_pid, signal.SIGKILL)
        await until(lambda: worker.facts().restarts == 1 and worker.free and 1 in worker.loaded)
        return worker.ending, worker.failure

    assert with_worker(use) == ("", "")


def test_a_device_that_can_not_be_had_is_given_up_and_tried_on() -> None:
    async def use(worker: Worker) -> object:
        await until(lambda: worker.failure != "")
        before = worker.facts().restarts
        with pytest.raises(ModelLoadError, match=r"Unavailable: device fpga-9 can't be used"):
            await worker.load(1, IDENTITY)
        assert worker.facts().failure == worker.failure
        await until(lambda: worker.facts().restarts > before)
        return worker.may_run(1)

    assert with_worker(use, "fpga-9") is False


async def until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(eventually, condition, 60)


def test_a_worker_s_process_has_that_environment() -> None:
    async def environment(process: WorkerProcess) -> set[bytes]:
        return set(Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"))

    expected = worker_environment.environment(os.environ)

    assert with_process(environment) >= {f"{name}={value}".encode() for name, value in expected.items()}
