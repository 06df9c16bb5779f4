"""The model repository over the protocol: states, loading, reloading, unloading, versions, brought configurations."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import eventually
from daemons import MODELS, Daemon, region_file, running, slow_request, write_model
from infer_requests import X4, request, x
from safetensors.numpy import save_file
from tritonclient.grpc import service_pb2 as pb

from spark_accel.networks import plan

NOT_POLLED = "failed to load '{0}', failed to poll from model repository"


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A model name of the test's own."""
    return request.node.name.removeprefix("test_").partition("[")[0]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as daemon:
        yield daemon


@pytest.fixture
def model(daemon: Daemon, name: str) -> Path:
    """The folder of a model of the test's own, in the repository and not loaded."""
    return write_model(daemon.repository, name, MODELS["identity"])


def text(value: str) -> pb.ModelRepositoryParameter:
    return pb.ModelRepositoryParameter(string_param=value)


def load_refused(daemon: Daemon, name: str, **parameters: pb.ModelRepositoryParameter) -> tuple[str, str]:
    return daemon.refusal("RepositoryModelLoad", model_name=name, parameters=parameters)


def touch(path: Path) -> None:
    """Makes a file newer than it was, whatever the clock's resolution."""
    facts = path.stat()
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1_000_000))


def executions(daemon: Daemon, name: str) -> int:
    return daemon.call("ModelStatistics", name=name).model_stats[0].execution_count


def test_a_model_that_was_never_loaded_has_no_version_and_state(daemon: Daemon, model: Path) -> None:
    assert daemon.states(model.name) == {"": ""}
    assert not daemon.call("ModelReady", name=model.name).ready


def test_loading_and_unloading(daemon: Daemon, model: Path) -> None:
    daemon.load(model.name)
    assert daemon.states(model.name) == {"1": "READY"}
    assert daemon.infer(request(x(), model=model.name)).raw_output_contents == [X4]

    daemon.call("RepositoryModelUnload", model_name=model.name)
    eventually(lambda: daemon.states(model.name) == {"1": "UNAVAILABLE"})
    assert [m.reason for m in daemon.call("RepositoryIndex").models if m.name == model.name] == ["unloaded"]
    unknown = f"Request for unknown model: '{model.name}'"
    assert daemon.infer_refused(request(x(), model=model.name)) == ("NOT_FOUND", f"{unknown} has no available versions")
    assert daemon.infer_refused(request(x(), model=model.name, version="1")) == (
        "UNAVAILABLE",
        f"{unknown} version 1 is not at ready state",
    )

    daemon.load(model.name)
    assert daemon.infer(request(x(), model=model.name)).raw_output_contents == [X4]


def test_the_index_is_sorted_and_can_be_of_ready_models_only(daemon: Daemon, model: Path) -> None:
    names = [entry.name for entry in daemon.call("RepositoryIndex").models]

    assert names == sorted(names)
    assert model.name in names
    assert model.name not in [entry.name for entry in daemon.call("RepositoryIndex", ready=True).models]


@pytest.mark.parametrize("rpc", ["RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"])
def test_there_is_one_repository(daemon: Daemon, rpc: str) -> None:
    refusal = daemon.refusal(rpc, repository_name="other")

    assert refusal == ("UNIMPLEMENTED", "'repository_name' specification is not supported")


def test_unloading_what_is_not_loaded_is_no_error(daemon: Daemon, model: Path) -> None:
    for name in ("absent", "", model.name):
        daemon.call("RepositoryModelUnload", model_name=name)

    assert daemon.states(model.name) == {"": ""}


def test_unknown_models_can_not_be_loaded(daemon: Daemon) -> None:
    for unknown in ("absent", "n" * 300):
        assert load_refused(daemon, unknown) == ("INTERNAL", NOT_POLLED.format(unknown))


@pytest.mark.parametrize("config", ["{", 'name: "other"', "own: 1", "\0"])
def test_a_model_whose_configuration_can_not_be_read_is_not_polled(daemon: Daemon, model: Path, config: str) -> None:
    (model / "config.pbtxt").write_text(config)

    assert load_refused(daemon, model.name) == ("INTERNAL", NOT_POLLED.format(model.name))
    assert daemon.states(model.name) == {"": ""}


def test_a_model_without_version_folder_can_not_be_loaded(daemon: Daemon, model: Path) -> None:
    (model / "1").rmdir()

    assert load_refused(daemon, model.name) == (
        "INVALID_ARGUMENT",
        f"load failed for model '{model.name}': at least one version must be available under the version policy of"
        f" model '{model.name}'",
    )
    assert daemon.call("ServerReady").ready


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("sequence_batching {}", "Unsupported: 'sequence_batching'"),
        ("model_transaction_policy { decoupled: true }", "Unsupported: decoupled answers"),
        (
            "dynamic_batching { priority_levels: 2 default_priority_level: 3 }",
            "Invalid argument: default priority level must be in range [1, 2]",
        ),
        (
            "dynamic_batching { priority_levels: 2 }",
            "Invalid argument: default priority level must be in range [1, 2]",
        ),
        (
            "dynamic_batching { priority_levels: 1 default_priority_level: 1 priority_queue_policy { key: 2 } }",
            "Invalid argument: priority queue policy must have priority level in range [1, 1]",
        ),
        ("max_batch_size: -1", "Invalid argument: 'max_batch_size' must be non-negative"),
        ('input { name: "z" dims: 1 }', "Invalid argument: input 'z'"),
        ('input { name: "x" data_type: TYPE_INT8 dims: 1 }', "Invalid argument: input 'x'"),
        ('input { name: "z" data_type: TYPE_INT8 dims: 0 }', "Invalid argument: input 'z'"),
        (
            'output { name: "z" data_type: TYPE_INT8 dims: 1 label_filename: "none" }',
            "Invalid argument: label file 'none'",
        ),
    ],
)
def test_a_configuration_that_can_not_be_served_is_refused(
    daemon: Daemon, model: Path, fault: str, reason: str
) -> None:
    sound = MODELS["slow"].replace("max_batch_size: 8", "") if "max_batch" in fault else MODELS["slow"]
    (model / "config.pbtxt").write_text(sound + fault)

    code, message = load_refused(daemon, model.name)

    assert code == "INVALID_ARGUMENT"
    assert message.startswith(f"load failed for model '{model.name}': version 1 is at UNAVAILABLE state: {reason}")
    repair(daemon, model)


def repair(daemon: Daemon, model: Path) -> None:
    """Loads the model after all, so that the daemon is ready again."""
    (model / "config.pbtxt").write_text(MODELS["identity"])
    daemon.load(model.name)


def test_an_unknown_backend_is_named(daemon: Daemon, model: Path) -> None:
    (model / "config.pbtxt").write_text('backend: "nope"')
    reason = (
        "Invalid argument: unable to find backend library for backend 'nope', try specifying runtime on the model"
        " configuration."
    )

    assert load_refused(daemon, model.name) == (
        "INVALID_ARGUMENT",
        f"load failed for model '{model.name}': version 1 is at UNAVAILABLE state: {reason};",
    )
    entries = [(m.state, m.reason) for m in daemon.call("RepositoryIndex").models if m.name == model.name]
    assert entries == [("UNAVAILABLE", reason)]
    repair(daemon, model)


def test_a_broken_network_is_named_within_its_folder(daemon: Daemon, model: Path) -> None:
    (model / "config.pbtxt").unlink()
    (model / "1" / "network.safetensors").write_bytes(b"no network")

    code, message = load_refused(daemon, model.name)

    reason = "Invalid argument: 1/network.safetensors is not a usable network"
    assert code == "INVALID_ARGUMENT"
    assert message.startswith(f"load failed for model '{model.name}': version 1 is at UNAVAILABLE state: {reason}")
    assert str(daemon.repository) not in message
    repair(daemon, model)


def test_a_reason_that_no_message_can_hold_is_in_the_index_without_it(daemon: Daemon, model: Path) -> None:
    (model / "config.pbtxt").write_text('backend: "network"')
    pool = {"kind": "max_pool", "name": "\ud800", "input": "x", "output": "y", "kernel": [2, 2], "stride": [1, 1]}
    written = {"height": 4, "width": 4, "layers": [{**pool, "padding": [0, 0, 0, 0]}]}
    save_file({"x": np.zeros(1)}, model / "1" / plan.FILE_NAME, {"plan": json.dumps(written)})
    load_refused(daemon, model.name)

    (reason,) = [found.reason for found in daemon.call("RepositoryIndex").models if found.name == model.name]

    assert "layer 0 '?': unknown input 'x'" in reason
    repair(daemon, model)


def test_a_folder_whose_name_is_not_text_is_no_model_and_the_log_says_so(daemon: Daemon, model: Path) -> None:
    folder = model.with_name("caf\udce9")
    folder.mkdir()

    names = [found.name for found in daemon.call("RepositoryIndex").models]

    folder.rmdir()
    assert model.name in names
    assert not any(name.startswith("caf") for name in names)
    assert "'caf\\udce9' in the model repository is no model" in (daemon.repository.parent / "daemon.log").read_text()


def test_the_server_is_not_ready_after_a_failed_first_load_until_the_model_loads(daemon: Daemon, model: Path) -> None:
    (model / "config.pbtxt").write_text('backend: "nope"')
    load_refused(daemon, model.name)

    assert not daemon.call("ServerReady").ready
    assert daemon.call("ServerLive").live
    repair(daemon, model)
    assert daemon.call("ServerReady").ready


def test_loading_a_loaded_model_again_changes_nothing(daemon: Daemon, model: Path) -> None:
    daemon.load(model.name)
    daemon.infer(request(x(), model=model.name))

    daemon.load(model.name)

    assert executions(daemon, model.name) == 1


def test_a_model_with_a_newer_file_is_loaded_again(daemon: Daemon, model: Path) -> None:
    daemon.load(model.name)
    daemon.infer(request(x(), model=model.name))

    touch(model / "labels.txt")
    daemon.load(model.name)

    assert executions(daemon, model.name) == 0
    assert daemon.infer(request(x(), model=model.name)).raw_output_contents == [X4]


def test_a_model_whose_new_files_are_broken_goes_on_with_the_old(daemon: Daemon, model: Path) -> None:
    daemon.load(model.name)

    (model / "config.pbtxt").write_text('backend: "nope"')

    assert load_refused(daemon, model.name)[0] == "INVALID_ARGUMENT"
    assert daemon.states(model.name) == {"1": "READY"}
    assert daemon.infer(request(x(), model=model.name)).raw_output_contents == [X4]
    assert daemon.call("ServerReady").ready


def test_a_model_whose_folder_is_gone_serves_and_is_not_in_the_index(daemon: Daemon, model: Path) -> None:
    daemon.load(model.name)

    shutil.rmtree(model)

    assert load_refused(daemon, model.name) == ("INTERNAL", NOT_POLLED.format(model.name))
    assert daemon.states(model.name) == {}
    assert daemon.infer(request(x(), model=model.name)).raw_output_contents == [X4]


def test_only_the_highest_version_is_served_by_default(daemon: Daemon, name: str) -> None:
    write_model(daemon.repository, name, MODELS["identity"], versions=(2, 10))

    daemon.load(name)

    assert daemon.states(name) == {"10": "READY"}
    assert daemon.infer(request(x(), model=name)).model_version == "10"


def test_the_policy_can_serve_all_versions(daemon: Daemon, name: str) -> None:
    write_model(daemon.repository, name, MODELS["identity"] + "version_policy { all {} }", versions=(1, 2))

    daemon.load(name)

    assert daemon.states(name) == {"1": "READY", "2": "READY"}
    assert list(daemon.call("ModelMetadata", name=name).versions) == ["1", "2"]
    assert daemon.infer(request(x(), model=name)).model_version == "2"
    assert daemon.infer(request(x(), model=name, version="1")).model_version == "1"


def test_the_policy_can_serve_certain_versions(daemon: Daemon, name: str) -> None:
    policy = "version_policy { specific { versions: [1, 3, 7] } }"
    write_model(daemon.repository, name, MODELS["identity"] + policy, versions=(1, 2, 3))

    daemon.load(name)

    assert daemon.states(name) == {"1": "READY", "3": "READY"}


def test_a_version_that_is_added_takes_over(daemon: Daemon, model: Path) -> None:
    daemon.load(model.name)

    (model / "2").mkdir()
    daemon.load(model.name)

    eventually(lambda: daemon.states(model.name) == {"1": "UNAVAILABLE", "2": "READY"})
    assert daemon.infer_refused(request(x(), model=model.name, version="1"))[0] == "UNAVAILABLE"
    assert daemon.infer(request(x(), model=model.name)).model_version == "2"


def test_unloading_lets_requests_in_flight_finish(daemon: Daemon, model: Path) -> None:
    (model / "config.pbtxt").write_text(MODELS["slow"])
    daemon.load(model.name)
    with region_file("a", X4) as a, region_file("b", X4) as b:
        futures = [slow_request(daemon, file, delay_ms=1500, model=model.name) for file in (a, b)]

        daemon.call("RepositoryModelUnload", model_name=model.name)

        assert daemon.states(model.name) == {"1": "UNLOADING"}
        assert daemon.infer_refused(request(x(), model=model.name))[0] == "NOT_FOUND"
        daemon.load(model.name)
        assert daemon.infer(request(x(), model=model.name)).raw_output_contents == [X4]
        assert [list(future.result().raw_output_contents) for future in futures] == [[X4], [X4]]
        daemon.call("SystemSharedMemoryUnregister")


def test_a_model_can_be_loaded_by_several_at_once(daemon: Daemon, model: Path) -> None:
    message = pb.RepositoryModelLoadRequest(model_name=model.name)

    for future in [daemon.stub.RepositoryModelLoad.future(message) for _ in range(3)]:
        future.result()

    assert daemon.states(model.name) == {"1": "READY"}


def test_more_priority_levels_than_anyone_needs_are_refused(daemon: Daemon, model: Path) -> None:
    config = json.dumps({"backend": "identity", "dynamicBatching": {"priorityLevels": 2**32 - 1}})

    code, said = load_refused(daemon, model.name, config=text(config))

    assert code == "INVALID_ARGUMENT"
    assert "'priority_levels' must be at most 1024" in said


def test_a_load_request_can_bring_the_whole_configuration(daemon: Daemon, model: Path) -> None:
    daemon.load(model.name)
    config = {"backend": "identity", "maxBatchSize": 4}
    tensors = {
        kind: [{"name": n, "dataType": "TYPE_FP32", "dims": [-1]}] for kind, n in (("input", "a"), ("output", "b"))
    }

    daemon.call("RepositoryModelLoad", model_name=model.name, parameters={"config": text(json.dumps(config | tensors))})
    assert [tensor.name for tensor in daemon.call("ModelMetadata", name=model.name).inputs] == ["a"]

    daemon.load(model.name)
    assert [tensor.name for tensor in daemon.call("ModelMetadata", name=model.name).inputs] == ["a"]

    daemon.call("RepositoryModelUnload", model_name=model.name)
    daemon.load(model.name)
    assert [tensor.name for tensor in daemon.call("ModelMetadata", name=model.name).inputs] == ["x"]


@pytest.mark.parametrize("config", ["{broken", '{"own": 1}', '{"name": "other"}', "[" * 100_000])
def test_a_brought_configuration_that_can_not_be_read_leaves_the_old_one(
    daemon: Daemon, model: Path, config: str
) -> None:
    daemon.load(model.name)

    assert load_refused(daemon, model.name, config=text(config)) == ("INTERNAL", NOT_POLLED.format(model.name))
    assert daemon.infer(request(x(), model=model.name)).raw_output_contents == [X4]


def test_load_parameters_have_names_and_types(daemon: Daemon, model: Path) -> None:
    number = pb.ModelRepositoryParameter(int64_param=1)

    assert load_refused(daemon, model.name, config=number) == (
        "INVALID_ARGUMENT",
        "invalid value type for load parameter 'config', expected string_param.",
    )
    assert load_refused(daemon, model.name, own=number) == ("INVALID_ARGUMENT", "unrecognized load parameter 'own'.")
    assert load_refused(daemon, model.name, **{"file:1/model.py": text("")}) == (
        "INVALID_ARGUMENT",
        "invalid value type for load parameter 'file:1/model.py', expected bytes_param.",
    )
