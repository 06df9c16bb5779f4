"""What ModelInfer checks a request for, and with which status and message it answers."""

from collections.abc import Iterator

import numpy as np
import pytest
from daemons import Daemon, running, write_model
from infer_requests import X4, placed, request, tensor, typed, x, y

NO_ID = "[request id: <id_unknown>] "
NOTE = (
    " NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended to each"
    " input shape."
)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), ("identity", "fixed", "two", "str", "flat")) as daemon:
        yield daemon


def bytes_tensor(*elements: bytes) -> bytes:
    return b"".join(len(element).to_bytes(4, "little") + element for element in elements)


A = tensor("a", (1, 2), bytes(8))
B = tensor("b", (1, 1), bytes(4), "INT32")
O = tensor("o", (1, 1), bytes(4))  # noqa: E741 - the input's name


@pytest.mark.parametrize("version", ["", "1"])
def test_a_good_request_is_answered_with_raw_contents(daemon: Daemon, version: str) -> None:
    answer = daemon.infer(request(x(), version=version, id="r-1"))

    assert (answer.model_name, answer.model_version, answer.id) == ("identity", "1", "r-1")
    assert [(output.name, output.datatype, list(output.shape)) for output in answer.outputs] == [("y", "FP32", [1, 4])]
    assert list(answer.raw_output_contents) == [X4]
    assert not answer.outputs[0].HasField("contents")
    assert not answer.parameters


@pytest.mark.parametrize("text", ["", "ä" * 10, "i" * 3000])
def test_the_id_is_echoed(daemon: Daemon, text: str) -> None:
    assert daemon.infer(request(x(), id=text)).id == text


def test_outputs_come_in_the_order_of_the_model(daemon: Daemon) -> None:
    everything = daemon.infer(request(B, O, A, model="two"))
    named = daemon.infer(request(A, B, model="two", outputs=[y("q"), y("p")]))

    assert [output.name for output in everything.outputs] == ["p", "q", "r"]
    assert [output.name for output in named.outputs] == ["p", "q"]


def test_raw_entries_beyond_the_inputs_are_ignored(daemon: Daemon) -> None:
    assert daemon.infer(request(x(), raw=[b"more"])).raw_output_contents == [X4]


REFUSED = {
    "unknown input": (
        request(tensor("z", (1, 4), X4)),
        "unexpected inference input 'z' for model 'identity'",
    ),
    "unknown output": (request(x(), outputs=[y("z")]), "unexpected inference output 'z' for model 'identity'"),
    "no input": (
        request(id="r-2"),
        "[request id: r-2] expected 1 inputs but got 0 inputs for model 'identity'. Got input(s) [], but missing"
        " required input(s) ['x']. Please provide all required input(s).",
    ),
    "one of two": (
        request(A, model="two"),
        f"{NO_ID}expected number of inputs between 2 and 3 but got 1 inputs for model 'two'. Got input(s) ['a'], but"
        " missing required input(s) ['b']. Please provide all required input(s).",
    ),
    "extra input": (
        request(x(), tensor("z", (1, 4), X4)),
        f"{NO_ID}expected 1 inputs but got 2 inputs for model 'identity'. Got input(s) ['x','z'].",
    ),
    "optional instead of required": (
        request(A, O, model="two"),
        f"{NO_ID}missing required input(s) ['b'] for model 'two'",
    ),
    "input twice": (request(x(), x()), f"{NO_ID}input 'x' already exists in request"),
    "wrong datatype": (
        request(x(datatype="INT32")),
        f"{NO_ID}inference input 'x' data-type is 'INT32', but model 'identity' expects 'FP32'",
    ),
    "unknown datatype": (
        request(x(datatype="FP33")),
        f"{NO_ID}inference input 'x' data-type is '<invalid>', but model 'identity' expects 'FP32'",
    ),
    "no datatype": (
        request(x(datatype="")),
        f"{NO_ID}inference input 'x' data-type is '<invalid>', but model 'identity' expects 'FP32'",
    ),
    "wrong rank": (
        request(x([4])),
        f"{NO_ID}unexpected shape for input 'x' for model 'identity'. Expected [-1,-1], got [4].{NOTE}",
    ),
    "wrong dimension": (
        request(x([1, 3], bytes(12)), model="fixed"),
        f"{NO_ID}unexpected shape for input 'x' for model 'fixed'. Expected [-1,4], got [1,3].{NOTE}",
    ),
    "wrong dimension without batching": (
        request(x([1, 3], bytes(12)), model="flat"),
        f"{NO_ID}unexpected shape for input 'x' for model 'flat'. Expected [-1,2], got [1,3].",
    ),
    "no shape": (
        request(x([])),
        f"{NO_ID}input 'x' has no shape but model requires batch dimension for 'identity'",
    ),
    "batch too large": (
        request(x([65, 1], bytes(260))),
        f"{NO_ID}inference request batch-size must be <= 64 for 'identity'",
    ),
    "different batches": (
        request(tensor("a", (2, 2), bytes(16)), B, model="two"),
        f"{NO_ID}input 'b' batch size does not match other inputs for 'two'",
    ),
    "batch of none": (
        request(x([0, 4], b"")),
        f"{NO_ID}input byte size mismatch for input 'x' for model 'identity'. Expected 16, got 0",
    ),
    "batch of none with bytes": (
        request(x([0, 4])),
        f"{NO_ID}inference request batch-size must be >= 1 for 'identity'",
    ),
    "dimension left open": (
        request(x([1, -1])),
        f"{NO_ID}All input dimensions should be specified for input 'x' for model 'identity', got [1,-1]",
    ),
    "too few bytes": (
        request(x(data=bytes(12))),
        f"{NO_ID}input byte size mismatch for input 'x' for model 'identity'. Expected 16, got 12",
    ),
    "no multiple of the item size": (
        request(x(data=bytes(15))),
        f"{NO_ID}input byte size mismatch for input 'x' for model 'identity'. Expected 16, got 15",
    ),
    "too many typed values": (
        request(typed("FP32", fp32_contents=[1.0] * 5)),
        f"{NO_ID}input byte size mismatch for input 'x' for model 'identity'. Expected 16, got 20",
    ),
    "no data": (request(x(data=None)), "unable to find data for input tensor 'x' for model 'identity' in request."),
    "fewer raw entries than inputs": (
        request(A, tensor("b", (1, 1), None, "INT32"), model="two"),
        "unable to find data for input tensor 'b' for model 'two' in request.",
    ),
    "raw and typed": (
        request(typed("FP32", fp32_contents=[1.0]), raw=[X4]),
        "contents field must not be specified when using raw_input_contents for 'x' for model 'identity'",
    ),
    "typed values in the wrong field": (
        request(typed("FP32", int_contents=[1, 2, 3, 4])),
        "unexpected explicit tensor data for input tensor 'x' for model 'identity' of type 'INT32', expected datatype"
        " 'FP32'",
    ),
    "too few strings": (
        request(x([1, 3], bytes_tensor(b"a", b"b"), "BYTES"), model="str"),
        f"{NO_ID}expected 3 string elements for inference input 'x' for model 'str', got 2",
    ),
    "too many strings": (
        request(x([1, 1], bytes_tensor(b"a", b"b"), "BYTES"), model="str"),
        f"{NO_ID}unexpected number of string elements 2 for inference input 'x' for model 'str', expecting 1",
    ),
    "string beyond the buffer": (
        request(x([1, 1], b"\x05\0\0\0abc", "BYTES"), model="str"),
        "incomplete string data for inference input 'x', expecting string of length 5 but only 3 bytes available",
    ),
    "cut length of a string": (
        request(x([1, 1], b"\x05\0", "BYTES"), model="str"),
        f"{NO_ID}incomplete string length indicator for inference input 'x' for model 'str', expecting 4 bytes but only"
        " 2 bytes available.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_faulty_request_is_refused_with_the_fault(daemon: Daemon, case: str) -> None:
    faulty, message = REFUSED[case]

    code, text = daemon.infer_refused(faulty)

    assert code == "INVALID_ARGUMENT"
    assert text == message or (text.startswith(message) and message.endswith((NOTE, "available.")))


def test_unknown_models_and_versions_are_not_found(daemon: Daemon) -> None:
    assert daemon.infer_refused(request(x(), model="absent")) == (
        "NOT_FOUND",
        "Request for unknown model: 'absent' is not found",
    )
    assert daemon.infer_refused(request(x(), version="9")) == (
        "NOT_FOUND",
        "Request for unknown model: 'identity' version 9 is not found",
    )


@pytest.mark.parametrize(
    ("model", "shape"), [("identity", [1, 0]), ("flat", [0, 2])], ids=["a row of none", "no rows without batching"]
)
def test_empty_tensors_come_back(daemon: Daemon, model: str, shape: list[int]) -> None:
    answer = daemon.infer(request(x(shape, b""), model=model))

    assert list(answer.outputs[0].shape) == shape
    assert list(answer.raw_output_contents) == [b""]


@pytest.mark.parametrize("size", [8 * 2**20, 64 * 2**20])
def test_large_tensors_can_be_inline(daemon: Daemon, size: int) -> None:
    data = np.arange(size // 4, dtype=np.float32).tobytes()

    assert daemon.infer(request(x([1, size // 4], data))).raw_output_contents[0] == data


def test_strings_come_back_whatever_their_bytes(daemon: Daemon) -> None:
    data = bytes_tensor(b"", b"\xff\xfe\0", "ä".encode())
    raw = daemon.infer(request(x([1, 3], data, "BYTES"), model="str"))
    explicit = daemon.infer(request(typed("BYTES", [1, 2], bytes_contents=[b"", b"\xff"]), model="str"))

    assert list(raw.raw_output_contents) == [data]
    assert list(explicit.raw_output_contents) == [bytes_tensor(b"", b"\xff")]


FAULTS = {
    "model before parameters": (request(x(), model="absent", triton_own=1), "Request for unknown model"),
    "parameters before regions": (
        request(x(data=None, **placed("nope", 16)), triton_own=1),
        "parameter keys starting with 'triton_'",
    ),
    "regions before names": (
        request(tensor("z", (1, 4), None, **placed("nope", 16))),
        "Unable to find shared memory region: 'nope'",
    ),
    "names before datatype": (
        request(tensor("z", (1, 4), X4, "INT32")),
        "unexpected inference input 'z' for model 'identity'",
    ),
    "datatype before shape": (request(x([4], datatype="INT32")), f"{NO_ID}inference input 'x' data-type"),
    "shape before size": (request(x([1, 2, 3])), f"{NO_ID}unexpected shape for input 'x'"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_of_several_faults_the_first_in_order_is_named(daemon: Daemon, case: str) -> None:
    faulty, start = FAULTS[case]

    assert daemon.infer_refused(faulty)[1].startswith(start)


TYPED = {
    "FP32": ("fp32_contents", [0.5, -2.0], "<f4"),
    "BOOL": ("bool_contents", [True, False], "?"),
    "INT16": ("int_contents", [-3, 9], "<i2"),
    "INT32": ("int_contents", [-3, 9], "<i4"),
    "INT64": ("int64_contents", [-(2**62), 9], "<i8"),
    "UINT8": ("uint_contents", [3, 255], "<u1"),
    "UINT16": ("uint_contents", [3, 2**16 - 1], "<u2"),
    "UINT32": ("uint_contents", [3, 2**32 - 1], "<u4"),
    "UINT64": ("uint64_contents", [3, 2**64 - 1], "<u8"),
    "FP64": ("fp64_contents", [0.1, -2.0], "<f8"),
}


@pytest.mark.parametrize("datatype", TYPED)
def test_typed_contents_become_raw_contents(daemon: Daemon, datatype: str) -> None:
    field, values, format_ = TYPED[datatype]
    load_flat(daemon, datatype)

    answer = daemon.infer(request(typed(datatype, [2], **{field: values}), model=datatype))

    assert list(answer.raw_output_contents) == [np.array(values, dtype=format_).tobytes()]


def test_a_typed_value_out_of_range_is_refused_not_wrapped(daemon: Daemon) -> None:
    load_flat(daemon, "INT8")

    assert daemon.infer(request(typed("INT8", [1], int_contents=[-1]), model="INT8")).raw_output_contents == [b"\xff"]
    assert daemon.infer_refused(request(typed("INT8", [1], int_contents=[300]), model="INT8")) == (
        "INVALID_ARGUMENT",
        "a value for input tensor 'x' for model 'INT8' is out of the range of datatype 'INT8'",
    )


def load_flat(daemon: Daemon, datatype: str) -> None:
    """Loads a model, named as the datatype, of one vector of it, without batching."""
    x_and_y = (f'{{ name: "{name}" data_type: TYPE_{datatype} dims: -1 }}' for name in "xy")
    write_model(daemon.repository, datatype, 'backend: "identity" input {} output {}'.format(*x_and_y))
    daemon.load(datatype)
