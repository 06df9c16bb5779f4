"""ModelStreamInfer: one answer a request, in order, and faults that end nothing."""

import queue
from collections.abc import Iterator

import pytest
from conftest import eventually
from daemons import Daemon, arrived, region_file, running, unregistered
from infer_requests import X4, placed, request, x
from tritonclient.grpc import service_pb2 as pb


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), ("identity", "slow")) as daemon:
        yield daemon


def stream(daemon: Daemon, *requests: pb.ModelInferRequest) -> list[pb.ModelStreamInferResponse]:
    return list(daemon.stub.ModelStreamInfer(iter(requests), timeout=30))


def test_a_stream_of_nothing_ends(daemon: Daemon) -> None:
    assert stream(daemon) == []


def test_each_request_has_one_answer_marked_as_its_last(daemon: Daemon) -> None:
    answers = stream(daemon, request(x(), id="a"), request(x(), id="b", triton_enable_empty_final_response=True))

    assert [answer.infer_response.id for answer in answers] == ["a", "b"]
    for answer in answers:
        assert not answer.error_message
        assert answer.infer_response.raw_output_contents == [X4]
        assert answer.infer_response.parameters["triton_final_response"].bool_param


def test_answers_come_in_the_order_of_requests(daemon: Daemon) -> None:
    answers = stream(daemon, request(x(), id="slow", model="slow", delay_ms=200), request(x(), id="fast"))

    assert [answer.infer_response.id for answer in answers] == ["slow", "fast"]


def test_a_refused_request_does_not_end_the_stream(daemon: Daemon) -> None:
    unknown, wrong, good = request(x(), id="u", model="absent"), request(x([4]), id="w"), request(x(), id="g")

    refused, refused_too, answered = stream(daemon, unknown, wrong, good)

    assert refused.error_message == "Request for unknown model: 'absent' is not found"
    assert refused.infer_response == pb.ModelInferResponse(id="u")
    assert refused_too.error_message.startswith("[request id: w] unexpected shape")
    assert answered.infer_response.raw_output_contents == [X4]


def test_a_stream_of_many_requests_is_answered_whole(daemon: Daemon) -> None:
    ids = [str(index) for index in range(300)]

    answers = stream(daemon, *(request(x(), id=text) for text in ids))

    assert [answer.infer_response.id for answer in answers] == ids


def test_an_open_stream_sees_that_its_model_is_unloaded(daemon: Daemon) -> None:
    requests: queue.SimpleQueue[pb.ModelInferRequest | None] = queue.SimpleQueue()
    answers = daemon.stub.ModelStreamInfer(iter(requests.get, None), timeout=30)
    requests.put(request(x(), model="slow"))
    assert not next(answers).error_message

    daemon.call("RepositoryModelUnload", model_name="slow")
    requests.put(request(x(), model="slow"))

    assert next(answers).error_message == "Request for unknown model: 'slow' has no available versions"
    requests.put(None)
    assert list(answers) == []
    daemon.load("slow")


def test_a_stream_that_is_left_frees_its_regions(daemon: Daemon) -> None:
    with region_file("in", X4) as file:
        slow = request(x(data=None, **placed(file.name, 16)), model="slow", delay_ms=300)
        stream = arrived(daemon, file, lambda: daemon.stub.ModelStreamInfer(iter([slow]), timeout=30), ended=next)

        stream.cancel()

        eventually(lambda: unregistered(daemon, file.name), what="the region is free")
