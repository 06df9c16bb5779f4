"""Executors and boards, `local-cluster`: tasks run on the board that Spark gave them; two executors share one board."""

import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from kernel_models import TWICE, install_examples, write_kernel
from spark_sessions import Node, running_node
from test_plugin import submitted

from spark_accel.daemon import loaders

pytestmark = [
    pytest.mark.spark,
    pytest.mark.skipif(loaders.EMULATOR not in loaders.names(), reason="pip install 'spark-accel[fpga]'"),
]
BOARDS = ["fpga-emulator-0", "fpga-emulator-1"]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with running_node(daemon_idleTimeout="2s", device="fpga") as node:
        script = node.folder / "discover.sh"
        script.write_text(f"#!/bin/sh\nexec {sys.executable} -m spark_accel discover\n")
        script.chmod(0o755)
        for of in ("worker", "executor"):
            node.conf[f"spark.{of}.resource.fpga.amount"] = "2"
            node.conf[f"spark.{of}.resource.fpga.discoveryScript"] = str(script)
        node.conf["spark.task.resource.fpga.amount"] = "1"
        yield node


@pytest.fixture(scope="module")
def facts(node: Node) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CL_CONFIG_CPU_EMULATE_DEVICES", "2")
        return submitted("boards", node, "local-cluster[1,2,1024]")


def test_all_rows_are_classified(facts: dict[str, Any]) -> None:
    assert facts["classified"] == 8


def test_spark_gives_the_tasks_the_boards_that_were_discovered(facts: dict[str, Any]) -> None:
    assert {task.split()[1] for task in facts["tasks"]} <= set(BOARDS)
    assert len(facts["tasks"]) == 4


def test_a_board_does_the_work_of_the_tasks_that_have_it_and_no_other(facts: dict[str, Any]) -> None:
    tasks = Counter(task.split()[1] for task in facts["tasks"])  # two rows each: one request

    assert facts["executions"] == {board: tasks[board] for board in BOARDS}


@pytest.fixture(scope="module")
def shared() -> Iterator[dict[str, Any]]:
    """What two executors on one board found out."""
    with running_node(daemon_idleTimeout="2s", device="fpga") as node:
        install_examples(node.settings.repository)
        write_kernel(node.settings.repository, "twice", TWICE)
        yield submitted("programs", node, "local-cluster[2,1,1024]")


def test_two_executors_with_different_programs_are_both_served(shared: dict[str, Any]) -> None:
    assert shared["executors"] == 2
    assert shared["wrong"] == 0


def test_their_board_is_reprogrammed_less_than_a_tenth_as_often_as_they_ask(shared: dict[str, Any]) -> None:
    requests = shared["board"]["executions"]

    assert requests == 80  # of 50 rows
    assert 1 <= shared["board"]["reprogrammings"] < requests / 10


@pytest.mark.parametrize("estimator", ["KMeans", "LogisticRegression", "NaiveBayes"])
def test_fits_on_the_board_are_stocks(shared: dict[str, Any], estimator: str) -> None:
    assert shared["fits"][estimator]["on the device"] == 1
    assert shared["fits"][estimator]["difference"] < 1e-4


def test_each_family_of_estimators_is_a_program_of_the_board(shared: dict[str, Any]) -> None:
    assert shared["programs"] == 3
