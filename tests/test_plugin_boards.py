"""Spark's resource scheduling: a task runs on the board that Spark gave it. Two emulated boards, `local-cluster`."""

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from spark_sessions import Node, make_node
from test_plugin import submitted

from spark_accel.daemon import loaders

pytestmark = pytest.mark.spark
BOARDS = ["fpga-emulator-0", "fpga-emulator-1"]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    if loaders.EMULATOR not in loaders.names():
        pytest.skip("no FPGA emulator: pip install 'spark-accel[fpga]'")
    folder = Path(tempfile.mkdtemp(prefix="accel-"))  # short, for the socket
    made = make_node(folder, daemon_idleTimeout="2s", device="fpga")
    script = folder / "discover.sh"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} -m spark_accel discover\n")
    script.chmod(0o755)
    for of in ("worker", "executor"):
        made.conf[f"spark.{of}.resource.fpga.amount"] = "2"
        made.conf[f"spark.{of}.resource.fpga.discoveryScript"] = str(script)
    made.conf["spark.task.resource.fpga.amount"] = "1"
    yield made
    made.stop()
    shutil.rmtree(folder)


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
