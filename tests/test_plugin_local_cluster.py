"""The plugin on real executors, `local-cluster[2,1,1024]` through `spark-submit`: two JVMs, one daemon."""

from collections.abc import Iterator
from typing import Any

import pytest
from conftest import eventually
from spark_sessions import Node, running_node
from test_plugin import submitted

from spark_accel import endpoint

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with running_node(daemon_idleTimeout="2s", device="reference") as node:
        yield node


@pytest.fixture(scope="module")
def facts(node: Node) -> dict[str, Any]:
    """What an application found out whose two executors share a daemon, and one of which is killed."""
    return submitted("cluster", node, "local-cluster[2,1,1024]")


def test_two_executors_hold_a_lease_each_on_one_daemon(facts: dict[str, Any]) -> None:
    assert facts["executors"] == [f"executor {number} of {facts['application']}" for number in (0, 1)]
    assert facts["daemons"] == 1


def test_both_executors_are_served(facts: dict[str, Any]) -> None:
    assert facts["classified"] == 8 * 8
    assert facts["executors with tasks"] == ["0", "1"]


def test_the_daemon_of_two_executors_counts_once(facts: dict[str, Any]) -> None:
    assert facts["metrics"]["images"] == 8 * 8


def test_a_job_ends_with_all_rows_when_an_executor_is_killed(facts: dict[str, Any]) -> None:
    assert facts["classified in spite of it"] == [8 * 32]


def test_the_next_executor_takes_a_lease_of_its_own(facts: dict[str, Any]) -> None:
    assert facts["executors afterwards"] == [f"executor {number} of {facts['application']}" for number in (1, 2)]


def test_the_daemon_leaves_when_the_application_has_ended(facts: dict[str, Any], node: Node) -> None:
    assert facts
    eventually(lambda: not endpoint.answers(node.settings.daemon_socket), what="the daemon leaves")
