"""Every attack that a server of this protocol must refuse, and that the daemon goes on after each."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from daemons import COMMAND, MEMORY, MODELS, PREFIX, Daemon, region, region_file, running, write_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from infer_requests import X4, placed, request, tensor, x, y
from tritonclient.grpc import service_pb2 as pb

PAGE = os.sysconf("SC_PAGESIZE")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), ("identity", "str", "flat")) as daemon:
        yield daemon


@pytest.fixture(autouse=True)
def _the_daemon_goes_on(daemon: Daemon) -> Iterator[None]:
    yield
    assert daemon.alive()
    assert daemon.call("ServerReady").ready
    assert daemon.infer(request(x())).raw_output_contents == [X4]


def register_refused(daemon: Daemon, key: str, size: int = 64, offset: int = 0) -> tuple[str, str]:
    return daemon.refusal("SystemSharedMemoryRegister", name="attack", key=key, offset=offset, byte_size=size)


@pytest.mark.parametrize("slashes", ["", "/", "//"])
def test_regions_of_a_server_are_reserved(daemon: Daemon, slashes: str) -> None:
    key = f"{slashes}triton_python_backend_shm_region_0"

    code, message = register_refused(daemon, key)

    assert code == "INVALID_ARGUMENT"
    assert message.startswith(f"cannot register shared memory region 'attack' with key '{key}' as the key contains")


@pytest.mark.parametrize("key", ["/", "///"])
def test_a_key_of_slashes_only_is_invalid(daemon: Daemon, key: str) -> None:
    code, message = register_refused(daemon, key)

    assert code == "INVALID_ARGUMENT"
    assert "invalid shm key" in message


@pytest.mark.parametrize(
    "key", ["", ".", "/..", "/../shm/FILE", "/sub/FILE", "FILE/", "/etc/passwd", "FILE\0x", "absent", "n" * 300]
)
def test_a_key_is_one_plain_file_name(daemon: Daemon, key: str) -> None:
    with region_file("plain", bytes(64)) as file:
        key = key.replace("FILE", file.name)

        assert register_refused(daemon, key) == ("INTERNAL", f"Unable to open shared memory region: '{key}'")


@pytest.mark.parametrize("kind", ["symbolic link", "folder", "FIFO", "socket"])
def test_a_key_names_a_regular_file(daemon: Daemon, kind: str) -> None:
    path = MEMORY / f"{PREFIX}odd"
    with region_file("target", bytes(64)) as target:
        if kind == "symbolic link":
            path.symlink_to(target)
        elif kind == "folder":
            path.mkdir()
        elif kind == "FIFO":
            os.mkfifo(path)
        else:
            os.mknod(path, 0o140600)
        try:
            assert register_refused(daemon, path.name)[0] == "INTERNAL"
        finally:
            path.rmdir() if kind == "folder" else path.unlink()


def test_a_device_is_no_region(daemon: Daemon) -> None:
    path = MEMORY / f"{PREFIX}device"
    try:
        os.mknod(path, 0o020600, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("device files can be made by root only")
    try:
        assert register_refused(daemon, path.name)[0] == "INTERNAL"
    finally:
        path.unlink()


def test_a_file_of_another_user_is_no_region(daemon: Daemon) -> None:
    with region_file("foreign", bytes(64)) as file:
        try:
            os.chown(file, os.geteuid() + 1, -1)
        except PermissionError:
            pytest.skip("files can be given away by root only")

        assert register_refused(daemon, file.name)[0] == "INTERNAL"


@pytest.mark.parametrize(("size", "offset"), [(2**64 - 1, 1), (64, 2**64 - 64), (2**64 - 1, 2**64 - 1)])
def test_an_extent_that_wraps_is_refused_at_registration(daemon: Daemon, size: int, offset: int) -> None:
    with region_file("wrap", bytes(64)) as file:
        code, message = register_refused(daemon, file.name, size, offset)

    assert code == "INVALID_ARGUMENT"
    assert "Integer overflow detected" in message


@pytest.mark.parametrize(("size", "offset"), [(2**63 - 1, 2**63 - 1), (2**63 - 1, 1), (16, -8), (-(2**63), 0)])
def test_an_extent_that_wraps_is_refused_in_requests(daemon: Daemon, size: int, offset: int) -> None:
    with region(daemon, "a", bytes(64)):
        as_input = daemon.infer_refused(request(x(data=None, **placed("a", size, offset))))
        as_output = daemon.infer_refused(request(x(), outputs=[y(**placed("a", size, offset))]))

    assert (as_input[0], as_output[0]) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")


def test_the_offset_of_a_region_does_not_count_twice(daemon: Daemon) -> None:
    """In Triton 2.51 these requests reach a page beyond the region."""
    with region(daemon, "second", bytes(PAGE) + X4 * (PAGE // 16) + b"secret" * PAGE, PAGE):
        daemon.call("SystemSharedMemoryUnregister", name="second")
        key = f"{PREFIX}second"
        daemon.call("SystemSharedMemoryRegister", name="second", key=key, offset=PAGE, byte_size=PAGE)

        last = daemon.infer(request(x(data=None, **placed("second", 16, PAGE - 16))))
        beyond = daemon.infer_refused(request(x(data=None, **placed("second", 16, PAGE))))

    assert last.raw_output_contents == [X4]
    assert beyond == ("INVALID_ARGUMENT", "Invalid offset for shared memory region: 'second'")


def test_a_file_cut_after_registration_is_refused_and_ends_nothing(daemon: Daemon) -> None:
    with region(daemon, "cut", X4 * 512) as file:
        os.truncate(file, 4096)
        within = daemon.infer(request(x(data=None, **placed("cut", 16))))
        as_input = daemon.infer_refused(request(x(data=None, **placed("cut", 16, 4096))))
        as_output = daemon.infer_refused(request(x(), outputs=[y(**placed("cut", 16, 4096))]))

    assert within.raw_output_contents == [X4]
    assert (as_input[0], as_output[0]) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    assert file.name not in as_input[1] + as_output[1]


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
        register_refused(daemon, "absent"),
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
