"""Health, metadata, configuration, log and trace settings, and the end of a daemon."""

import signal
from collections.abc import Iterator

import grpc
import pytest
from conftest import eventually
from daemons import MODELS, Daemon, region_file, running, slow_request, write_model
from infer_requests import X4, request, x
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc import service_pb2 as pb

from spark_accel import __version__
from spark_accel.protocol import accel_pb2, accel_pb2_grpc


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), ("identity", "fixed", "two", "str", "flat")) as daemon:
        yield daemon


def test_a_started_daemon_is_live_and_ready(daemon: Daemon) -> None:
    assert daemon.call("ServerLive").live
    assert daemon.call("ServerReady").ready


def test_metadata_names_the_server_and_the_extensions_that_work(daemon: Daemon) -> None:
    metadata = daemon.call("ServerMetadata")

    assert (metadata.name, metadata.version) == ("spark-accel", __version__)
    assert {"system_shared_memory", "statistics", "classification"} <= set(metadata.extensions)
    assert not {"cuda_shared_memory", "sequence", "trace"} & set(metadata.extensions)


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [("identity", "", True), ("identity", "1", True), ("identity", "9", False), ("absent", "", False), ("", "", False)],
)
def test_model_ready_answers_for_every_name(daemon: Daemon, name: str, version: str, ready: bool) -> None:
    assert daemon.call("ModelReady", name=name, version=version).ready is ready


@pytest.mark.parametrize("version", ["x", "1x", "²", "9" * 30])
@pytest.mark.parametrize("rpc", ["ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"])
def test_a_version_that_is_no_number_is_invalid(daemon: Daemon, rpc: str, version: str) -> None:
    assert daemon.refusal(rpc, name="identity", version=version) == (
        "INVALID_ARGUMENT",
        f"failed to get model version from specified version string '{version}' (details: stol),"
        " version should be an integral value > 0",
    )


@pytest.mark.parametrize("rpc", ["ModelMetadata", "ModelConfig"])
def test_unknown_models_and_versions_are_not_found(daemon: Daemon, rpc: str) -> None:
    assert daemon.refusal(rpc, name="absent") == ("NOT_FOUND", "Request for unknown model: 'absent' is not found")
    assert daemon.refusal(rpc, name="identity", version="9") == (
        "NOT_FOUND",
        "Request for unknown model: 'identity' version 9 is not found",
    )


def test_model_metadata_writes_the_batch_dimension(daemon: Daemon) -> None:
    fixed, flat = (daemon.call("ModelMetadata", name=name) for name in ("fixed", "flat"))

    assert (fixed.name, list(fixed.versions), fixed.platform) == ("fixed", ["1"], "identity")
    assert [(t.name, t.datatype, list(t.shape)) for t in fixed.inputs] == [("x", "FP32", [-1, 4])]
    assert [list(t.shape) for t in flat.outputs] == [[-1, 2]]


def test_model_metadata_lists_optional_inputs_and_calls_strings_bytes(daemon: Daemon) -> None:
    assert [tensor.name for tensor in daemon.call("ModelMetadata", name="two").inputs] == ["a", "b", "o"]
    assert [tensor.datatype for tensor in daemon.call("ModelMetadata", name="str").inputs] == ["BYTES"]


def test_model_config_has_its_defaults_filled_in(daemon: Daemon) -> None:
    config = daemon.call("ModelConfig", name="identity").config

    assert config.name == "identity"
    assert config.version_policy.latest.num_versions == 1
    assert [(group.name, group.count, group.kind) for group in config.instance_group] == [
        ("identity", 1, model_config_pb2.ModelInstanceGroup.KIND_CPU)
    ]
    assert list(config.dynamic_batching.preferred_batch_size) == [64]
    assert [list(tensor.dims) for tensor in config.input] == [[-1]]


def test_the_labels_of_a_network_are_ids_and_texts(daemon: Daemon) -> None:
    folder = write_model(daemon.repository, "labelled", MODELS["fixed"])
    (folder / "labels.txt").write_text("n01440764 tench\nn01484850 great white shark\nfish\n")
    daemon.load("labelled")
    node = accel_pb2_grpc.NodeStub(daemon.channel)

    found = node.Labels(accel_pb2.LabelsRequest(model="labelled"))

    assert list(found.ids) == ["n01440764", "n01484850", "2"]
    assert list(found.labels) == ["tench", "great white shark", "fish"]
    assert not node.Labels(accel_pb2.LabelsRequest(model="identity")).ids


def test_health_checks_of_grpc_are_answered(daemon: Daemon) -> None:
    check = daemon.channel.unary_unary("/grpc.health.v1.Health/Check")

    assert check(b"", timeout=10) == b"\x08\x01"  # status: SERVING


def test_bytes_that_are_no_request_are_refused(daemon: Daemon) -> None:
    infer = daemon.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    stream = daemon.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")

    for call in (lambda: infer(b"\xff\xff\xff", timeout=10), lambda: list(stream(iter([b"\xff\xff"]), timeout=10))):
        with pytest.raises(grpc.RpcError) as error:
            call()
        assert (error.value.code().name, error.value.details()) == ("INTERNAL", "Unable to parse request")


def test_an_unknown_method_is_unimplemented(daemon: Daemon) -> None:
    call = daemon.channel.unary_unary("/inference.GRPCInferenceService/Nothing")

    with pytest.raises(grpc.RpcError) as error:
        call(b"", timeout=10)
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_log_settings_are_read_and_changed(daemon: Daemon) -> None:
    verbose = {"log_verbose_level": pb.LogSettingsRequest.SettingValue(uint32_param=1)}
    ignored = {"own": pb.LogSettingsRequest.SettingValue(bool_param=True)}

    assert daemon.call("LogSettings").settings["log_info"].bool_param
    assert daemon.call("LogSettings", settings=verbose | ignored).settings["log_verbose_level"].uint32_param == 1
    assert "own" not in daemon.call("LogSettings").settings


def test_a_log_setting_of_the_wrong_type_changes_nothing(daemon: Daemon) -> None:
    wrong = {"log_info": pb.LogSettingsRequest.SettingValue(string_param="no")}

    assert daemon.refusal("LogSettings", settings=wrong) == ("INVALID_ARGUMENT", "expect boolean for 'log_info'")
    assert daemon.call("LogSettings").settings["log_info"].bool_param


def test_trace_settings_are_read_only(daemon: Daemon) -> None:
    on = {"trace_level": pb.TraceSettingRequest.SettingValue(value=["TIMESTAMPS"])}

    assert daemon.call("TraceSetting").settings["trace_level"].value == ["OFF"]
    assert daemon.refusal("TraceSetting", settings=on)[0] == "UNIMPLEMENTED"
    assert daemon.refusal("TraceSetting", model_name="nope") == (
        "INVALID_ARGUMENT",
        "Request for unknown model : nope",
    )


def test_there_is_no_cuda_memory(daemon: Daemon) -> None:
    assert not daemon.call("CudaSharedMemoryStatus").regions
    assert daemon.refusal("CudaSharedMemoryRegister", name="c", byte_size=16) == (
        "INVALID_ARGUMENT",
        "failed to register shared memory region: invalid args",
    )
    daemon.call("CudaSharedMemoryUnregister", name="c")


def test_a_terminated_daemon_finishes_what_it_has_and_refuses_what_is_new(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("ending")
    with running(folder, ("slow",)) as daemon, region_file("a", X4) as a, region_file("b", X4) as b:
        accepted = [slow_request(daemon, file, delay_ms=2000) for file in (a, b)]

        daemon.process.send_signal(signal.SIGTERM)
        refusal = first_refusal(daemon)

        assert refusal == ("UNAVAILABLE", "Server exiting")
        assert daemon.infer_refused(request(x(), model="slow")) == ("UNAVAILABLE", "Server exiting")
        assert daemon.refusal("RepositoryIndex") == ("UNAVAILABLE", "Server not ready")
        assert daemon.call("ServerMetadata").name == "spark-accel"
        assert [list(future.result().raw_output_contents) for future in accepted] == [[X4], [X4]]
        assert daemon.process.wait(20) == 0


def first_refusal(daemon: Daemon) -> tuple[str, str]:
    refusals: list[tuple[str, str]] = []

    def ask() -> bool:
        try:
            daemon.call("ServerLive")
        except grpc.RpcError as error:
            refusals.append((error.code().name, error.details()))
        return bool(refusals)

    eventually(ask, what="the daemon turns requests away")
    return refusals[0]
