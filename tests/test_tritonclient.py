"""NVIDIA's own client, unchanged, with the daemon as its server."""

import queue
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.grpc as triton
from conftest import eventually
from daemons import PREFIX, Daemon, running
from tritonclient.utils import InferenceServerException, shared_memory


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), ("identity", "fixed", "slow", "str")) as daemon:
        yield daemon


@pytest.fixture
def client(daemon: Daemon) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(daemon.url) as client:
        yield client


def an_input(values: np.ndarray, datatype: str = "FP32") -> triton.InferInput:
    tensor = triton.InferInput("x", list(values.shape), datatype)
    tensor.set_data_from_numpy(values)
    return tensor


ROW = np.array([[0.1, 0.7, 0.2, 0.5]], dtype=np.float32)


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("identity")
    assert not client.is_model_ready("absent")
    assert client.get_server_metadata().name == "spark-accel"
    assert client.get_model_metadata("identity", as_json=True)["inputs"][0]["datatype"] == "FP32"
    assert client.get_model_config("identity").config.max_batch_size == 64


def test_the_repository(client: triton.InferenceServerClient) -> None:
    client.unload_model("fixed")
    eventually(lambda: not client.is_model_ready("fixed"))
    client.load_model("fixed")

    index = {model.name: model.state for model in client.get_model_repository_index().models}

    assert index["fixed"] == "READY"


def test_statistics_and_settings(client: triton.InferenceServerClient) -> None:
    client.infer("identity", [an_input(ROW)])

    assert client.get_inference_statistics("identity").model_stats[0].inference_count >= 1
    assert client.get_log_settings(as_json=True)["settings"]["log_info"]["bool_param"]
    assert client.update_log_settings({"log_verbose_level": 0}).settings["log_info"].bool_param
    assert client.get_trace_settings().settings["trace_level"].value == ["OFF"]
    assert not client.get_cuda_shared_memory_status().regions


def test_inline_tensors(client: triton.InferenceServerClient) -> None:
    answer = client.infer("identity", [an_input(ROW)], outputs=[triton.InferRequestedOutput("y")], request_id="7")

    np.testing.assert_array_equal(answer.as_numpy("y"), ROW)
    assert answer.get_response().id == "7"


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_compressed_requests(client: triton.InferenceServerClient, compression: str) -> None:
    answer = client.infer("identity", [an_input(ROW)], compression_algorithm=compression)

    np.testing.assert_array_equal(answer.as_numpy("y"), ROW)


def test_strings(client: triton.InferenceServerClient) -> None:
    values = np.array([["ä", "", "abc"]], dtype=np.object_)

    answer = client.infer("str", [an_input(values, "BYTES")]).as_numpy("y")

    assert [value.decode() for value in answer[0]] == ["ä", "", "abc"]


def test_classes(client: triton.InferenceServerClient) -> None:
    wanted = [triton.InferRequestedOutput("y", class_count=2)]

    answer = client.infer("fixed", [an_input(ROW)], outputs=wanted).as_numpy("y")

    assert answer.tolist() == [[b"0.700000:1:dog", b"0.500000:3"]]


def test_errors_have_status_and_message(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="Request for unknown model: 'absent' is not found") as error:
        client.infer("absent", [an_input(ROW)])

    assert error.value.status() == "StatusCode.NOT_FOUND"


def test_several_requests_in_flight(client: triton.InferenceServerClient) -> None:
    answers: queue.SimpleQueue[tuple[triton.InferResult, Exception | None]] = queue.SimpleQueue()

    for index in range(32):
        client.async_infer(
            "identity",
            [an_input(np.full((1, 8), index, np.float32))],
            callback=lambda result, error: answers.put((result, error)),
            request_id=str(index),
        )

    received = [answers.get(timeout=30) for _ in range(32)]
    assert [error for _, error in received] == [None] * 32
    for result, _ in received:
        assert result.as_numpy("y")[0, 0] == int(result.get_response().id)


def test_regions(client: triton.InferenceServerClient) -> None:
    source = shared_memory.create_shared_memory_region("in", f"/{PREFIX}in", ROW.nbytes)
    target = shared_memory.create_shared_memory_region("out", f"/{PREFIX}out", ROW.nbytes)
    try:
        shared_memory.set_shared_memory_region(source, [ROW])
        client.register_system_shared_memory("in", f"/{PREFIX}in", ROW.nbytes)
        client.register_system_shared_memory("out", f"/{PREFIX}out", ROW.nbytes)
        assert set(client.get_system_shared_memory_status(as_json=True)["regions"]) == {"in", "out"}
        tensor = triton.InferInput("x", list(ROW.shape), "FP32")
        tensor.set_shared_memory("in", ROW.nbytes)
        wanted = triton.InferRequestedOutput("y")
        wanted.set_shared_memory("out", ROW.nbytes)

        answer = client.infer("identity", [tensor], outputs=[wanted])

        assert answer.get_output("y").shape == [1, 4]
        np.testing.assert_array_equal(shared_memory.get_contents_as_numpy(target, np.float32, ROW.shape), ROW)
        client.unregister_system_shared_memory("in")
        client.unregister_system_shared_memory()
        assert not client.get_system_shared_memory_status().regions
    finally:
        shared_memory.destroy_shared_memory_region(source)
        shared_memory.destroy_shared_memory_region(target)


def test_streams(client: triton.InferenceServerClient) -> None:
    answers: queue.SimpleQueue[tuple[triton.InferResult | None, Exception | None]] = queue.SimpleQueue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)))

    client.async_stream_infer("identity", [an_input(ROW)])
    client.async_stream_infer("absent", [an_input(ROW)])
    (result, _), (_, error) = answers.get(timeout=30), answers.get(timeout=30)
    client.stop_stream()

    assert result is not None
    np.testing.assert_array_equal(result.as_numpy("y"), ROW)
    assert "unknown model" in str(error)


def test_priority_timeout_and_parameters(client: triton.InferenceServerClient) -> None:
    answer = client.infer(
        "slow", [an_input(ROW)], priority=1, timeout=1_000_000, client_timeout=30, parameters={"delay_ms": 1}
    )

    np.testing.assert_array_equal(answer.as_numpy("y"), ROW)
