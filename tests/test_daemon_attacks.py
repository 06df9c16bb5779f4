"""Every attack that a server of this protocol must refuse, and that the daemon goes on after each. Those by regions are
in `test_daemon_attacks_regions.py`."""

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from daemons import COMMAND, MEMORY, MODELS, Daemon, goes_on, region, running, write_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from infer_requests import X4, placed, request, tensor, x, y
from tritonclient.grpc import service_pb2 as pb


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), ("identity", "str", "flat")) as daemon:
        yield daemon


@pytest.fixture(autouse=True)
def _the_daemon_goes_on(daemon: Daemon) -> Iterator[None]:
    yield
    goes_on(daemon)


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ([4, 2**62], b""),
        ([16, 2**60 + 2], bytes(128)),
        ([2, 2**63 - 1], b""),
        ([2**32 + 1, 4], X4),
        ([2**32, 4], b""),
        ([-1, -4], X4),
        ([-(2**63), 2], b""),
    ],
)
@pytest.mark.parametrize("model", ["identity", "flat"])
def test_a_shape_whose_product_wraps_is_refused(daemon: Daemon, model: str, shape: list[int], data: bytes) -> None:
    assert daemon.infer_refused(request(x(shape, data), model=model))[0] == "INVALID_ARGUMENT"


def test_the_same_output_often_is_refused(daemon: Daemon) -> None:
    twice = daemon.infer_refused(request(x(), outputs=[y(), y()]))
    often = daemon.infer_refused(request(x(), outputs=[y()] * 100_000))

    assert twice == ("INVALID_ARGUMENT", "output 'y' already exists in request for model 'identity'")
    assert often == (
        "INVALID_ARGUMENT",
        "100000 outputs in a request for model 'identity', at most 1024 are taken",
    )


def test_counts_of_inputs_and_parameters_are_capped(daemon: Daemon) -> None:
    inputs = [tensor(str(index), (1, 1), b"", "FP32") for index in range(5000)]
    parameters = {str(index): index for index in range(5000)}

    assert daemon.infer_refused(request(*inputs))[0] == "INVALID_ARGUMENT"
    assert daemon.infer_refused(request(x(), **parameters))[0] == "INVALID_ARGUMENT"


def test_a_device_is_not_echoed_at_any_length(daemon: Daemon) -> None:
    assert daemon.infer_refused(request(x(), device="d" * 100_000)) == (
        "INVALID_ARGUMENT",
        "parameter 'device' has 100000 characters, expected the id of a device, as in 'cpu-0'",
    )


@pytest.mark.parametrize(
    "name", ["../repository/identity", "nm/../identity", "..", ".", "/etc", "identity/1", "a\\b", "a\0b"]
)
def test_a_model_name_has_no_parts_of_a_path(daemon: Daemon, name: str) -> None:
    refusal = daemon.refusal("RepositoryModelLoad", model_name=name)

    assert refusal == (
        "INVALID_ARGUMENT",
        f"invalid model name '{name}', model name must not contain path traversal characters",
    )
    assert not daemon.call("ModelReady", name=name).ready


def test_a_model_name_is_not_empty(daemon: Daemon) -> None:
    assert daemon.refusal("RepositoryModelLoad", model_name="") == (
        "INVALID_ARGUMENT",
        "Model name cannot be empty.",
    )


@pytest.mark.parametrize("path", ["../../x", "/tmp/x", "1/../../x", "1/model.py"])
def test_no_file_is_taken_over_the_protocol(daemon: Daemon, path: str) -> None:
    before = sorted(daemon.repository.parent.rglob("*"))
    parameters = {f"file:{path}": pb.ModelRepositoryParameter(bytes_param=b"x")}

    code, message = daemon.refusal("RepositoryModelLoad", model_name="identity", parameters=parameters)

    assert code == "INVALID_ARGUMENT"
    assert message.endswith("within model directory.") or path == "1/model.py"
    assert sorted(daemon.repository.parent.rglob("*")) == before


@pytest.mark.parametrize(
    "line",
    [
        'output { name: "z" data_type: TYPE_FP32 dims: 1 label_filename: "FILE" }',
        'default_model_filename: "FILE"',
        'cc_model_filenames { key: "7.5" value: "FILE" }',
        'runtime: "FILE"',
    ],
)
@pytest.mark.parametrize("file", ["../secret.txt", "/etc/passwd", "link.txt", "1/../../secret.txt", "circle"])
def test_a_configuration_does_not_leave_its_folder(daemon: Daemon, tmp_path: Path, line: str, file: str) -> None:
    (daemon.repository / "secret.txt").write_text("secret")
    (tmp_path / "outside.txt").write_text("secret")
    folder = write_model(daemon.repository, "leaving", MODELS["identity"] + line.replace("FILE", file))
    (folder / "link.txt").unlink(missing_ok=True)
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    (folder / "circle").unlink(missing_ok=True)
    (folder / "circle").symlink_to(folder / "circle")

    code, message = daemon.refusal("RepositoryModelLoad", model_name="leaving")

    write_model(daemon.repository, "leaving", MODELS["identity"])
    daemon.load("leaving")  # or the daemon would not be ready
    assert code == "INVALID_ARGUMENT"
    assert f"file '{file}' in the configuration of model 'leaving' must stay within model directory." in message


def test_where_the_daemon_logs_to_is_not_a_client_s_to_say(daemon: Daemon) -> None:
    log = {"log_file": pb.LogSettingsRequest.SettingValue(string_param="/tmp/x")}
    trace = {"trace_file": pb.TraceSettingRequest.SettingValue(value=["/tmp/x"])}

    assert daemon.refusal("LogSettings", settings=log) == (
        "UNIMPLEMENTED",
        "log file location can not be updated through network protocol",
    )
    assert daemon.refusal("TraceSetting", settings=trace) == (
        "UNIMPLEMENTED",
        "trace file location can not be updated through network protocol",
    )


@pytest.mark.parametrize("length", [2**32 - 1, 2**31, 5])
def test_the_length_of_a_string_is_checked_before_it_is_believed(daemon: Daemon, length: int) -> None:
    data = length.to_bytes(4, "little") + b"abc"
    strings = request(x([1, 1], data, "BYTES"), model="str")
    with region(daemon, "in", data):
        in_region = request(x([1, 1], None, "BYTES", **placed("in", len(data))), model="str")

        for attack in (strings, in_region):
            code, message = daemon.infer_refused(attack)
            assert code == "INVALID_ARGUMENT"
            assert f"expecting string of length {length} but only 3 bytes available" in message


@pytest.mark.parametrize("shape", [[1, 2**62], [8, 2**60]])
def test_a_count_of_strings_is_not_believed(daemon: Daemon, shape: list[int]) -> None:
    assert daemon.infer_refused(request(x(shape, b"", "BYTES"), model="str"))[0] == "INVALID_ARGUMENT"


def test_strings_are_not_classified(daemon: Daemon) -> None:
    refusal = daemon.infer_refused(request(x([1, 1], b"\0\0\0\0", "BYTES"), model="str", outputs=[y(classification=1)]))

    assert refusal == (
        "INVALID_ARGUMENT",
        "class result not available for output due to unsupported type 'BYTES'",
    )


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_request_has_a_largest_size_also_when_it_is_compressed(daemon: Daemon, compression: grpc.Compression) -> None:
    size = 257 * 2**20

    code, _ = daemon.refused("ModelInfer", request(x([1, size // 4], bytes(size))), compression=compression)

    assert code == "RESOURCE_EXHAUSTED"


def test_a_message_is_never_too_long_for_its_client(daemon: Daemon) -> None:
    code, message = daemon.infer_refused(request(x(), model="ä" * 1_000_000))

    assert code == "NOT_FOUND"
    assert message.startswith("Request for unknown model: 'ää")
    assert len(message.encode()) < 3000


def test_no_path_of_the_daemon_is_in_a_message(daemon: Daemon) -> None:
    write_model(daemon.repository, "unreadable", "{")
    refusals = [
        daemon.refusal("RepositoryModelLoad", model_name="unreadable"),
        daemon.refusal("RepositoryModelLoad", model_name="absent"),
        daemon.refusal("SystemSharedMemoryRegister", name="attack", key="absent", byte_size=64),
    ]

    for _, message in refusals:
        assert str(daemon.repository) not in message
        assert str(MEMORY) not in message


def test_the_socket_and_its_folder_are_closed_to_others(daemon: Daemon) -> None:
    assert daemon.socket.parent.stat().st_mode & 0o777 == 0o700


def test_a_daemon_refuses_a_socket_folder_that_is_open_to_others(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="accel-") as folder:
        Path(folder).chmod(0o755)
        arguments = ["--socket", f"{folder}/daemon.sock", "--repository", str(tmp_path), "--device", "reference"]
        ended = subprocess.run([*COMMAND, *arguments], capture_output=True, timeout=60, text=True, check=False)

    assert ended.returncode != 0
    assert "0700" in ended.stderr


parameter = st.one_of(
    st.builds(pb.InferParameter, int64_param=st.integers(-(2**63), 2**63 - 1)),
    st.builds(pb.InferParameter, string_param=st.sampled_from(["a", "", "/", "absent"])),
    st.builds(pb.InferParameter, bool_param=st.booleans()),
    st.just(pb.InferParameter()),
)
keys = st.sampled_from(
    ["shared_memory_region", "shared_memory_offset", "shared_memory_byte_size", "classification", "timeout", "priority"]
)
parameter_maps = st.dictionaries(keys, parameter, max_size=3)
dimension = st.integers(-2, 5) | st.integers(-(2**63), 2**63 - 1)
inputs = st.builds(
    lambda name, datatype, shape, parameters: pb.ModelInferRequest.InferInputTensor(
        name=name, datatype=datatype, shape=shape, parameters=parameters
    ),
    st.sampled_from(["x", "z", ""]),
    st.sampled_from(["FP32", "BYTES", "INT32", "nope", ""]),
    st.lists(dimension, max_size=4),
    parameter_maps,
)
outputs = st.builds(
    lambda name, parameters: pb.ModelInferRequest.InferRequestedOutputTensor(name=name, parameters=parameters),
    st.sampled_from(["y", "z"]),
    parameter_maps,
)
requests = st.builds(
    lambda model, inputs, outputs, raw, parameters: pb.ModelInferRequest(
        model_name=model, inputs=inputs, outputs=outputs, raw_input_contents=raw, parameters=parameters
    ),
    st.sampled_from(["identity", "str", "flat", "absent"]),
    st.lists(inputs, max_size=2),
    st.lists(outputs, max_size=2),
    st.lists(st.binary(max_size=24), max_size=2),
    parameter_maps,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(attack=requests)
def test_any_request_is_answered_or_refused_for_a_fault_of_its_own(
    daemon: Daemon, attack: pb.ModelInferRequest
) -> None:
    assert outcome(lambda: daemon.infer(attack)) in ("OK", "INVALID_ARGUMENT", "NOT_FOUND")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200), method=st.sampled_from(["ModelInfer", "SystemSharedMemoryStatus", "LogSettings"]))
def test_any_bytes_are_answered(daemon: Daemon, data: bytes, method: str) -> None:
    call = daemon.channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
    assert outcome(lambda: call(data, timeout=10)) in (
        "OK",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "INTERNAL",
        "UNIMPLEMENTED",
    )


def outcome(call: Callable[[], object]) -> str:
    """The name of the status that a call ends with."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name
    return "OK"
