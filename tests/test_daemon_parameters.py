"""Request parameters, deadlines, cancellation, classification."""

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from daemons import Daemon, running
from infer_requests import X4, request, tensor, x, y
from tritonclient.grpc import service_pb2 as pb


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), ("identity", "slow", "fixed", "two", "flat", "str")) as daemon:
        yield daemon


UINT64, UNSET = pb.InferParameter(uint64_param=7), pb.InferParameter()
OWN = "invalid value type for 'own' parameter, expected int64_param, bool_param, or string_param."
PRIORITY = "invalid value type for 'priority' parameter, expected int64_param or uint64_param."
TIMEOUT = "invalid value type for 'timeout' parameter, expected int64_param."
SEQUENCE = "invalid value type for 'sequence_id' parameter, expected int64_param or string_param."


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("own", value) for value in ("text", True, -5, 1.5)),
        *(("priority", value) for value in (0, 1, 99, UINT64)),
        *(("timeout", value) for value in (1, -1)),
        *(("sequence_id", value) for value in (1, "a")),
        ("sequence_start", True),
        ("sequence_end", True),
        ("triton_enable_empty_final_response", True),
    ],
)
def test_a_parameter_is_taken_and_not_echoed(daemon: Daemon, key: str, value: object) -> None:
    answer = daemon.infer(request(x(), **{key: value}))

    assert answer.raw_output_contents == [X4]
    assert not answer.parameters


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("own", UINT64, OWN),
        ("own", UNSET, OWN),
        ("priority", -1, "invalid value for 'priority', expected value >= 0."),
        ("priority", "1", PRIORITY),
        ("priority", 1.5, PRIORITY),
        ("timeout", "1", TIMEOUT),
        ("timeout", UINT64, TIMEOUT),
        ("sequence_id", 1.5, SEQUENCE),
        ("sequence_start", 1, "invalid value type for 'sequence_start' parameter, expected bool_param."),
        (
            "triton_own",
            1,
            "parameter keys starting with 'triton_' are reserved for Triton usage. Only the following keys starting"
            " with 'triton_' are allowed: triton_enable_empty_final_response",
        ),
    ],
)
def test_a_parameter_of_the_wrong_kind_is_refused(daemon: Daemon, key: str, value: object, message: str) -> None:
    assert daemon.infer_refused(request(x(), **{key: value})) == ("INVALID_ARGUMENT", message)


def test_unknown_parameters_of_tensors_are_ignored(daemon: Daemon) -> None:
    assert daemon.infer(request(x(own=1), outputs=[y(own="a")])).raw_output_contents == [X4]


def test_a_deadline_that_passes_is_exceeded_and_the_next_request_is_answered(daemon: Daemon) -> None:
    with pytest.raises(grpc.RpcError) as error:
        daemon.stub.ModelInfer(request(x(), model="slow", delay_ms=400), timeout=0.1)

    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert daemon.infer(request(x(), model="slow")).raw_output_contents == [X4]


def test_a_cancelled_request_does_not_hold_the_next_up_for_ever(daemon: Daemon) -> None:
    future = daemon.stub.ModelInfer.future(request(x(), model="slow", delay_ms=300))
    future.cancel()

    assert future.cancelled()
    assert daemon.infer(request(x(), model="slow")).raw_output_contents == [X4]


def classes(answer: pb.ModelInferResponse, index: int = 0) -> list[bytes]:
    data, found = answer.raw_output_contents[index], []
    while data:
        length = int.from_bytes(data[:4], "little")
        found.append(data[4 : 4 + length])
        data = data[4 + length :]
    return found


def floats(*values: float) -> bytes:
    return np.array(values, dtype=np.float32).tobytes()


def test_classification_names_the_best_values_of_each_row(daemon: Daemon) -> None:
    rows = floats(0.1, 0.7, 0.2, 0.7, 4, 3, 2, 1)

    answer = daemon.infer(request(x([2, 4], rows), model="fixed", outputs=[y(classification=2)]))

    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("BYTES", [2, 2])
    assert classes(answer) == [b"0.700000:1:dog", b"0.700000:3", b"4.000000:0:cat", b"3.000000:1:dog"]


def test_classification_without_batching_is_over_the_whole_tensor(daemon: Daemon) -> None:
    answer = daemon.infer(request(x([2, 2], floats(1, 2, 3, 4)), model="flat", outputs=[y(classification=3)]))

    assert list(answer.outputs[0].shape) == [3]
    assert classes(answer) == [b"4.000000:3", b"3.000000:2", b"2.000000:1"]


def test_classification_gives_at_most_all_classes(daemon: Daemon) -> None:
    answer = daemon.infer(request(x(), outputs=[y(classification=9)]))

    assert list(answer.outputs[0].shape) == [1, 4]


def test_a_classification_of_too_many_values_is_refused(daemon: Daemon) -> None:
    values = 2**18 + 2

    assert daemon.infer_refused(
        request(x([values // 2, 2], bytes(4 * values)), model="flat", outputs=[y(classification=2**62)])
    ) == (
        "INVALID_ARGUMENT",
        f"classification of output 'y' would have {values} strings, and at most 262144 are made",
    )


def test_classification_of_nan_infinity_and_integers(daemon: Daemon) -> None:
    odd = daemon.infer(request(x([1, 3], floats(np.nan, 3, np.inf)), outputs=[y(classification=3)]))
    a, b = tensor("a", (1, 2), bytes(8)), tensor("b", (1, 3), np.array([-1, 9, 7], "<i4").tobytes(), "INT32")
    integers = daemon.infer(request(a, b, model="two", outputs=[y("q", classification=2)]))

    assert classes(odd) == [b"nan:0", b"inf:2", b"3.000000:1"]
    assert classes(integers) == [b"9:1", b"7:2"]


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (0, "invalid value for 'classification' parameter, expected >= 0"),
        (-1, "invalid value for 'classification' parameter, expected >= 0"),
        ("2", "invalid value type for 'classification' parameter, expected int64_param"),
    ],
)
def test_a_classification_count_is_a_positive_integer(daemon: Daemon, count: object, message: str) -> None:
    refusal = daemon.infer_refused(request(x(), outputs=[y(classification=count)]))

    assert refusal == ("INVALID_ARGUMENT", message)
