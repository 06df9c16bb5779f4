"""The built-in models of the estimators on a real daemon: answers, and requests that nobody should send."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from daemons import Daemon, region, running, write_model
from estimator_calls import KERNELS, Call, call, expected, in_region, packed, same, wanted
from hypothesis import given, settings
from hypothesis import strategies as st
from infer_requests import placed
from partitions import Array, Partition, partition
from tritonclient.grpc import service_pb2 as pb

from spark_accel.daemon import builtin_models
from spark_accel.protocol import accel_pb2, accel_pb2_grpc

MODELS = [kernel + suffix for kernel in KERNELS for suffix in ("", "_fp64")]
Change = Callable[[Call], Call]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as daemon:
        daemon.load(*MODELS)
        yield daemon


def data_for(kernel: str, seed: int = 0, rows: int = 30, features: int = 5, **options: Any) -> Partition:  # noqa: ANN401
    classes = 2 if kernel == "logistic_binomial" else 3
    return partition(np.random.default_rng(seed), rows, features, classes=classes, **options)


def sound(kernel: str, **options: Any) -> tuple[Call, Partition]:  # noqa: ANN401
    data = data_for(kernel, **options)
    return call(kernel, data, np.random.default_rng(1)), data


def test_the_models_are_the_documented_ones_and_need_no_folder(daemon: Daemon) -> None:
    assert builtin_models.names() == sorted(MODELS)
    assert list(daemon.repository.iterdir()) == []
    for model in MODELS:
        assert daemon.states(model) == {"1": "READY"}
        metadata = daemon.call("ModelMetadata", name=model)
        assert (metadata.platform, list(metadata.versions)) == ("estimator", ["1"])
        config = daemon.call("ModelConfig", name=model).config
        assert config.max_batch_size == 0
        assert all(list(tensor.dims) == [-1] for tensor in (*config.input, *config.output))
        values = metadata.inputs[0]
        assert (values.name, values.datatype) == ("values", "FP64" if model.endswith("_fp64") else "FP32")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("precision", [np.float32, np.float64])
@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**32),
    options=st.fixed_dictionaries(
        {
            "rows": st.integers(1, 50),
            "features": st.integers(1, 40),
            "sparse": st.booleans(),
            "weighted": st.booleans(),
        }
    ),
)
def test_the_answer_is_the_reference_s_wherever_the_partition_lies(
    daemon: Daemon, kernel: str, precision: type, seed: int, options: dict[str, Any]
) -> None:
    data = data_for(kernel, seed, precision=precision, **options)
    one = call(kernel, data, np.random.default_rng(seed))
    answer = expected(one, data)

    assert same(one.answer(daemon), answer)
    with in_region(daemon, one) as placed_one:
        for version in (0, 1, 1):
            assert same(placed_one.changed(content_version=version).answer(daemon), answer)


def test_a_partition_of_zeros_only_has_no_elements(daemon: Daemon) -> None:
    zeros = Partition(
        np.zeros((3, 2)),
        {
            "values": np.zeros(0, np.float32),
            "indices": np.zeros(0, np.int32),
            "row_pointers": np.zeros(4, np.int64),
        },
    )
    one = call("kmeans_lloyd", zeros, np.random.default_rng(0), content_version=1)

    with in_region(daemon, one) as placed_one:
        assert same(placed_one.answer(daemon), expected(one, zeros))


def test_outputs_go_where_they_are_wanted_and_others_stay_out(daemon: Daemon) -> None:
    one, data = sound("kmeans_lloyd")
    answer = expected(one, data)
    place = placed("out", answer["sums"].nbytes, 64)

    with region(daemon, "out", bytes(4096)) as file:
        found = replace(one, outputs=wanted("cost", sums=place)).answer(daemon)

        assert same(found, {"sums": np.zeros(0), "cost": answer["cost"]})
        assert np.array_equal(np.frombuffer(file.read_bytes(), count=answer["sums"].size, offset=64), answer["sums"])


def test_a_request_counts_as_one_inference(daemon: Daemon) -> None:
    one, _ = sound("logistic_multinomial")
    count = daemon.call("ModelStatistics", name=one.model).model_stats[0].inference_count

    one.answer(daemon)

    statistics = daemon.call("ModelStatistics", name=one.model).model_stats[0]
    assert statistics.inference_count == count + 1
    assert statistics.inference_stats.compute_infer.ns > 0


def drop(name: str) -> Change:
    """Leaves out an input or a parameter."""
    return lambda one: replace(
        one,
        columns={key: values for key, values in one.columns.items() if key != name},
        arguments={key: values for key, values in one.arguments.items() if key != name},
        parameters={key: value for key, value in one.parameters.items() if key != name},
    )


def give(**arrays: Array) -> Change:
    """Replaces or adds inputs."""
    return lambda one: replace(
        one,
        columns={**one.columns, **{name: values for name, values in arrays.items() if name not in one.arguments}},
        arguments={name: arrays.get(name, values) for name, values in one.arguments.items()},
    )


def set_to(**parameters: object) -> Change:
    return lambda one: one.changed(**parameters)


def _filled(one: Call, column: str, value: int) -> Call:
    return give(**{column: np.full_like(one.columns[column], value)})(one)


def _falling(one: Call) -> Call:
    pointers = one.columns["row_pointers"].copy()
    pointers[10] = pointers[-1] + 1
    return give(row_pointers=pointers)(one)


HUGE = 2**62
FAULTS: list[tuple[str, Change, str]] = [
    ("kmeans_lloyd", drop("rows"), "parameter 'rows' is missing, expected an integer from 1 to"),
    ("kmeans_lloyd", set_to(rows=0), "parameter 'rows' is 0, expected"),
    ("kmeans_lloyd", set_to(rows=-30), "parameter 'rows' is -30, expected"),
    ("kmeans_lloyd", set_to(rows=True), "parameter 'rows' is True, expected"),
    ("kmeans_lloyd", set_to(rows="30"), "parameter 'rows' is '30', expected"),
    ("kmeans_lloyd", set_to(rows=HUGE), f"parameter 'rows' is {HUGE}, expected"),
    ("kmeans_lloyd", set_to(rows=31), "'values' has 480 elements, a partition of 31 rows"),
    ("kmeans_lloyd", set_to(rows=2**31 - 1), "'values' has 480 elements"),
    ("kmeans_lloyd", set_to(features=-5), "parameter 'features' is -5, expected"),
    ("kmeans_lloyd", set_to(features=HUGE), f"parameter 'features' is {HUGE}, expected"),
    ("kmeans_lloyd", set_to(features=17), "a partition of 30 rows of 17 features wants 960"),
    ("kmeans_lloyd", set_to(features=6), "'centres' has 20 elements, expected a multiple of 6"),
    ("kmeans_lloyd", set_to(content_version=-1), "parameter 'content_version' is -1, expected"),
    ("kmeans_lloyd", set_to(content_version=1), "'content_version' is 1 and input 'values' came inline"),
    ("kmeans_lloyd", give(centres=np.zeros(0)), "'centres' has 0 elements"),
    ("kmeans_lloyd", give(weights=np.zeros(29)), "'weights' has 29 elements"),
    ("kmeans_lloyd", give(indices=np.zeros(480, np.int32)), "has both 'indices' and 'row_pointers'"),
    ("logistic_binomial", give(labels=np.full(30, 2, np.int32)), "'labels' has values from 2 to 2, expected 0 to 1"),
    ("logistic_binomial", give(labels=np.full(29, 0, np.int32)), "'labels' has 29 elements"),
    ("logistic_binomial", give(coefficients=np.zeros(10)), "'coefficients' has 10 elements, expected 5"),
    ("logistic_binomial", give(intercepts=np.zeros(2)), "'intercepts' has 2 elements, expected 1"),
    ("logistic_multinomial", give(intercepts=np.zeros(2)), "'intercepts' has 2 elements, expected 3"),
    ("logistic_multinomial", give(labels=np.full(30, -1, np.int32)), "'labels' has values from -1 to -1"),
    ("naive_bayes_sums", drop("classes"), "parameter 'classes' is missing"),
    ("naive_bayes_sums", set_to(classes=0), "parameter 'classes' is 0, expected"),
    ("naive_bayes_sums", set_to(classes=2), "'labels' has values from 0 to 2, expected 0 to 1"),
    ("naive_bayes_sums", set_to(classes=2**30), "the answer has 1073741824 x 5 elements, 137438953472 bytes"),
    ("naive_bayes_sums", set_to(classes=2**23 + 1), "the answer has 8388609 x 5 elements, 1073741952 bytes"),
    ("naive_bayes_sums", set_to(classes=HUGE), f"parameter 'classes' is {HUGE}, expected"),
    ("naive_bayes_sums", set_to(squares=1), "parameter 'squares' is 1, expected true or false"),
    (
        "naive_bayes_sums",
        lambda one: replace(one.changed(squares=False), outputs=wanted("square_sums")),
        "output 'square_sums' needs the request parameter 'squares'",
    ),
]
SPARSE_FAULTS: list[tuple[str, Change, str]] = [
    ("kmeans_lloyd", drop("indices"), "has both 'indices' and 'row_pointers'"),
    ("kmeans_lloyd", give(indices=np.full(3, 5, np.int32)), "'indices' has 3 elements"),
    ("kmeans_lloyd", lambda one: _filled(one, "indices", 5), "'indices' has values from 5 to 5, expected 0 to 4"),
    ("kmeans_lloyd", lambda one: _filled(one, "indices", -1), "'indices' has values from -1 to -1"),
    ("kmeans_lloyd", lambda one: _filled(one, "row_pointers", 2**62), "'row_pointers' do not rise"),
    ("kmeans_lloyd", lambda one: _filled(one, "row_pointers", -1), "'row_pointers' do not rise"),
    ("kmeans_lloyd", give(row_pointers=np.zeros(30, np.int64)), "'row_pointers' has 30 elements"),
    ("naive_bayes_sums", set_to(features=2**31 - 1), "the answer has 3 x 2147483647 elements"),
    ("logistic_binomial", set_to(features=2**31 - 1), "'coefficients' has 1 x 2147483647 elements"),
    ("kmeans_costs", _falling, "'row_pointers' do not rise"),
]


@pytest.mark.parametrize(
    ("kernel", "change", "message", "sparse"),
    [(*fault, False) for fault in FAULTS] + [(*fault, True) for fault in SPARSE_FAULTS],
)
def test_a_request_that_is_wrong_is_refused_by_name_and_the_daemon_serves_on(
    daemon: Daemon, kernel: str, change: Change, message: str, sparse: bool
) -> None:
    one, data = sound(kernel, sparse=sparse, weighted=False)
    worker = worker_pid(daemon)

    code, text = daemon.infer_refused(change(one).message())

    assert code == "INVALID_ARGUMENT", text
    assert message in text
    assert same(one.answer(daemon), expected(one, data))
    assert worker_pid(daemon) == worker


def test_more_outputs_than_an_answer_holds_are_refused_before_they_are_computed(daemon: Daemon) -> None:
    one, _ = sound("naive_bayes_sums", weighted=False)

    code, text = daemon.infer_refused(one.changed(features=16, classes=2**23).message())

    assert code == "RESOURCE_EXHAUSTED", text
    assert "2,214,592,512 bytes of outputs are wanted inline ('weight_sums' 67,108,864, 'sums' 1,073,741,824" in text


@pytest.mark.parametrize("version", [0, 1])
def test_a_region_s_file_that_was_cut_short_is_the_request_s_fault(daemon: Daemon, version: int) -> None:
    one, data = sound("kmeans_lloyd", weighted=False)
    content, offsets = packed(one.columns)

    with region(daemon, "cut", content) as file:
        places = {name: placed("cut", values.nbytes, offsets[name]) for name, values in one.columns.items()}
        one = replace(one.changed(content_version=version), places=places)
        os.truncate(file, 100)
        code, text = daemon.infer_refused(one.message())
        file.write_bytes(content)

        assert (code, "the shared memory of input 'values' was cut short" in text) == ("INVALID_ARGUMENT", True)
        assert same(one.answer(daemon), expected(one, data))


@settings(max_examples=80)
@given(
    sound_call=st.builds(sound, st.sampled_from(KERNELS), sparse=st.booleans()),
    parameters=st.fixed_dictionaries(
        {
            "rows": st.sampled_from([-1, 1, 29, 30, 31, 2**31 - 1]),
            "features": st.sampled_from([1, 4, 5, 6, 16, 17, 2**31 - 1]),
            "classes": st.sampled_from([1, 3, 4, 2**20, 2**40]),
        }
    ),
    column=st.sampled_from(["values", "indices", "row_pointers", "labels", "weights", "centres", "coefficients"]),
    filled=st.builds(np.full, st.sampled_from([0, 1, 29, 30, 31, 480]), st.sampled_from([-1, 0, 1, 2**30])),
)
def test_no_request_ends_a_worker_or_is_an_internal_error(
    daemon: Daemon, sound_call: tuple[Call, Partition], parameters: dict[str, int], column: str, filled: Array
) -> None:
    one, _ = sound_call
    if column in one.inputs:
        one = give(**{column: filled.astype(one.inputs[column].dtype)})(one)
    worker = worker_pid(daemon)

    assert status(daemon, one.changed(**parameters)) in ("OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")

    assert worker_pid(daemon) == worker


def test_a_folder_of_the_same_name_does_not_replace_a_built_in_model(daemon: Daemon) -> None:
    identity = 'backend: "identity" input { name: "values" data_type: TYPE_FP32 dims: -1 }'
    folder = write_model(daemon.repository, "kmeans_costs", identity)
    try:
        daemon.call("RepositoryModelUnload", model_name="kmeans_costs")
        daemon.load("kmeans_costs")

        one, data = sound("kmeans_costs")
        assert same(one.answer(daemon), expected(one, data))
        assert daemon.states("kmeans_costs") == {"1": "READY"}
    finally:
        for file in sorted(folder.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        folder.rmdir()


def test_the_configuration_of_a_built_in_model_can_not_be_replaced(daemon: Daemon) -> None:
    parameters = {"config": pb.ModelRepositoryParameter(string_param='{"backend": "identity"}')}

    code, text = daemon.refusal("RepositoryModelLoad", model_name="kmeans_lloyd", parameters=parameters)

    assert (code, "model 'kmeans_lloyd' is built in" in text) == ("INVALID_ARGUMENT", True)


def test_the_backend_is_for_the_built_in_models_only(daemon: Daemon) -> None:
    write_model(daemon.repository, "mine", 'backend: "estimator" input { name: "x" data_type: TYPE_FP32 dims: -1 }')

    code, text = daemon.refusal("RepositoryModelLoad", model_name="mine")

    assert (code, "backend 'estimator' is for the built-in models (kmeans_lloyd," in text) == ("INVALID_ARGUMENT", True)


def test_the_example_of_the_documentation_runs(daemon: Daemon) -> None:
    page = Path(__file__).parents[1] / "docs" / "estimator-kernels.md"
    (example,) = re.findall("```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    usual = 'f"unix:/tmp/spark-accel-{os.getuid()}/daemon.sock"'
    assert usual in example

    done = subprocess.run(
        [sys.executable, "-c", example.replace(usual, repr(daemon.url))], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    *centres, cost = done.stdout.splitlines()
    assert len(centres) == 3
    assert float(cost.strip("[]")) > 0


def status(daemon: Daemon, one: Call) -> str:
    try:
        daemon.infer(one.message())
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def worker_pid(daemon: Daemon) -> int:
    (device,) = accel_pb2_grpc.NodeStub(daemon.channel).Devices(accel_pb2.DevicesRequest(), timeout=30).devices
    return device.worker_pid
