"""ModelStatistics: what is counted, and what is not."""

from collections.abc import Iterator

import pytest
from daemons import MODELS, Daemon, region, running, write_model
from infer_requests import placed, request, x, y
from tritonclient.grpc import service_pb2 as pb

from spark_accel.daemon.statistics import Execution, Statistics


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), ("identity",)) as daemon:
        yield daemon


@pytest.fixture
def fresh(daemon: Daemon, request: pytest.FixtureRequest) -> str:
    """The name of a loaded model that has run nothing."""
    name = request.node.name
    write_model(daemon.repository, name, MODELS["slow"])
    daemon.load(name)
    return name


def statistics(daemon: Daemon, name: str) -> pb.ModelStatistics:
    (found,) = daemon.call("ModelStatistics", name=name).model_stats
    return found


def test_a_loaded_model_starts_at_0(daemon: Daemon, fresh: str) -> None:
    found = statistics(daemon, fresh)

    assert (found.name, found.version, found.inference_count, found.last_inference) == (fresh, "1", 0, 0)


def test_requests_executions_and_rows_are_counted(daemon: Daemon, fresh: str) -> None:
    daemon.infer(request(x(), model=fresh))
    daemon.infer(request(x([4, 1]), model=fresh))

    found = statistics(daemon, fresh)

    assert (found.inference_count, found.execution_count) == (5, 2)
    kinds = ("success", "queue", "compute_input", "compute_infer", "compute_output")
    assert [getattr(found.inference_stats, kind).count for kind in kinds] == [2] * 5
    assert found.inference_stats.fail.count == 0
    assert {batch.batch_size: batch.compute_infer.count for batch in found.batch_stats} == {1: 1, 4: 1}
    assert found.last_inference > 1.6e12  # milliseconds since 1970


def test_times_are_nanoseconds_of_queue_and_compute(daemon: Daemon, fresh: str) -> None:
    daemon.infer(request(x(), model=fresh, delay_ms=50))

    stats = statistics(daemon, fresh).inference_stats

    assert stats.compute_infer.ns >= 50_000_000
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    assert stats.success.ns == sum(getattr(stats, part).ns for part in parts)


def test_a_refused_request_is_not_counted(daemon: Daemon, fresh: str) -> None:
    daemon.infer_refused(request(x([1, 3]), model=fresh))

    found = statistics(daemon, fresh)

    assert (found.execution_count, found.inference_stats.fail.count) == (0, 0)


def test_an_output_that_does_not_fit_was_a_success_of_the_model(daemon: Daemon, fresh: str) -> None:
    with region(daemon, "out", bytes(64)):
        daemon.infer_refused(request(x(), model=fresh, outputs=[y(**placed("out", 12))]))

    assert statistics(daemon, fresh).inference_stats.success.count == 1


def test_a_merged_batch_is_one_execution_of_many_requests() -> None:
    counts = Statistics()

    counts.executed(
        "m", 1, Execution(batch=8, queue_ns=(10,) * 4, compute_input_ns=1, compute_infer_ns=5, compute_output_ns=2)
    )

    (found,) = counts.response([("m", 1)]).model_stats
    assert (found.inference_count, found.execution_count) == (8, 1)
    assert (found.inference_stats.success.count, found.inference_stats.success.ns) == (4, 4 * (10 + 8))
    assert (found.inference_stats.compute_infer.count, found.inference_stats.compute_infer.ns) == (4, 20)
    assert [(b.batch_size, b.compute_infer.count, b.compute_infer.ns) for b in found.batch_stats] == [(8, 1, 5)]


def test_a_batch_that_fails_is_an_execution_without_inferences() -> None:
    counts = Statistics()

    counts.executed("m", 1, Execution(3, (0, 0, 0), 1, 1, 1, failed=True))
    counts.failed("m", 1, elapsed_ns=7)

    (found,) = counts.response([("m", 1)]).model_stats
    assert (found.inference_count, found.execution_count, found.last_inference) == (0, 1, 0)
    assert (found.inference_stats.success.count, found.inference_stats.fail.count) == (0, 4)
    assert [(batch.batch_size, batch.compute_infer.count) for batch in found.batch_stats] == [(3, 1)]


def test_all_loaded_models_are_listed(daemon: Daemon, fresh: str) -> None:
    assert {"identity", fresh} <= {model.name for model in daemon.call("ModelStatistics").model_stats}


def test_unknown_models_and_versions_are_invalid(daemon: Daemon) -> None:
    assert daemon.refusal("ModelStatistics", name="nope") == (
        "INVALID_ARGUMENT",
        "requested model 'nope' is not available",
    )
    assert daemon.refusal("ModelStatistics", name="identity", version="9") == (
        "INVALID_ARGUMENT",
        "requested model version is not available for model 'identity'",
    )
