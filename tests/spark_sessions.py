"""One Spark session for all tests that run in pytest's own process, and a node for it: model repository and daemon.

Spark allows one context a process: a test that wants another configuration runs it in a process of its own.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plans
import psutil
import pytest
from nodes import end_daemon, worker_of
from pyspark.sql import SparkSession

from spark_accel import endpoint, jar
from spark_accel.networks import plan
from spark_accel.settings import Settings, from_spark

PHOTOGRAPHS = Path(plan.__file__).parents[1] / "photographs"

_CONFIG = """
name: "{name}" backend: "network" max_batch_size: {batch}
input {{ name: "image" data_type: TYPE_UINT8 format: FORMAT_NHWC dims: [{height}, {width}, 3] }}
output [ {{ name: "logits" data_type: TYPE_FP32 dims: {classes} label_filename: "labels.txt" }},
         {{ name: "index" data_type: TYPE_INT32 dims: -1 }}, {{ name: "score" data_type: TYPE_FP32 dims: -1 }} ]
dynamic_batching {{}}
parameters {{ key: "resize" value {{ string_value: "{resize}" }} }}
"""


@dataclass(frozen=True)
class Node:
    """A node of the tests: the small network `small` of its repository, and the settings that lead to its daemon."""

    small: plan.Plan
    resize: int
    conf: dict[str, str]

    @property
    def folder(self) -> Path:
        """Where its repository lies, and whatever else a test puts there."""
        return self.settings.repository.parent

    @property
    def settings(self) -> Settings:
        return from_spark(self.conf, {})

    @property
    def environment(self) -> dict[str, str]:
        return self.settings.environment()

    def daemon(self) -> psutil.Process:
        return psutil.Process(endpoint.daemon_pid(self.settings.daemon_socket))

    def worker(self) -> psutil.Process:
        """The process that drives the daemon's only device, from when there is one."""
        return psutil.Process(worker_of(self.settings))

    def stop(self) -> None:
        end_daemon(self.settings)


def write_network(repository: Path, name: str, network: plan.Plan, resize: int, max_batch: int = 8) -> None:
    """Writes a network into a model repository, with classes `c0 class 0`, `c1 class 1`, …"""
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    plan.save(network, folder / "1")
    (folder / "labels.txt").write_text("".join(f"c{index} class {index}\n" for index in range(network.classes)))
    sizes = {"height": network.height, "width": network.width, "classes": network.classes}
    (folder / "config.pbtxt").write_text(_CONFIG.format(name=name, batch=max_batch, resize=resize, **sizes))


def make_node(folder: Path, **conf: str) -> Node:
    """A node whose daemon is started by whoever needs it first; `stop` it."""
    small = plans.random_plan(np.random.default_rng(7), height=33, width=29, classes=11)
    write_network(folder / "repository", "small", small, resize=40)
    given = {"repository": f"{folder}/repository", "daemon.socket": f"{folder}/node/daemon.sock"}
    given["device"] = os.environ.get("SPARK_ACCEL_TEST_DEVICE", "cpu")
    given |= {key.replace("_", "."): text for key, text in conf.items()}
    return Node(small, 40, {f"spark.accel.{key}": text for key, text in given.items()})


@contextlib.contextmanager
def running_node(**conf: str) -> Iterator[Node]:
    """A node in a folder of its own, and nothing left of it afterwards."""
    with tempfile.TemporaryDirectory(prefix="accel-") as folder:  # short: the name of a socket has at most 107 bytes
        node = make_node(Path(folder), **conf)
        try:
            yield node
        finally:
            node.stop()


@contextlib.contextmanager
def setting(spark: SparkSession, conf: Mapping[str, str]) -> Iterator[None]:
    """Other settings for the session, for a while."""
    before = {key: spark.conf.get(key, None) for key in conf}
    for key, text in conf.items():
        spark.conf.set(key, text)
    try:
        yield
    finally:
        for key, old in before.items():
            if old is None:
                spark.conf.unset(key)
            else:
                spark.conf.set(key, old)


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    with running_node() as node:
        yield node


@pytest.fixture(scope="session")
def spark(node: Node) -> Iterator[SparkSession]:
    """A classic session, `local[2]`, with the bridge's jar but without the plugin: tasks start the node's daemon."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.log.level", "OFF").config("spark.sql.shuffle.partitions", "2")
    session = builder.config("spark.jars", str(jar.path())).config(map=node.conf).getOrCreate()
    yield session
    session.stop()
