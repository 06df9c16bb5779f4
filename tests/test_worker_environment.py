"""The environment that a worker is given."""

import os

import pytest

from spark_accel.daemon import worker_environment


def test_a_worker_may_use_the_whole_node_whatever_the_task_that_starts_the_daemon_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as Spark does
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")  # as a user does

    environment = worker_environment.environment(os.environ)

    assert environment["OMP_NUM_THREADS"] == str(worker_environment.threads())
    assert environment["OPENBLAS_NUM_THREADS"] == "3"
    assert 1 <= worker_environment.threads() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.arena_max=1", "glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0"),
    ],
)
def test_a_worker_asks_for_large_pages_unless_somebody_decided(given: str | None, expected: str) -> None:
    inherited = {} if given is None else {"GLIBC_TUNABLES": given}

    assert worker_environment.environment(inherited)["GLIBC_TUNABLES"] == expected
