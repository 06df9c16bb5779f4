"""The request parameter `content_version`: what a daemon keeps of a partition, and when it reads the region again."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import eventually
from daemons import Daemon, region, region_file, running
from estimator_calls import Call, call, expected, in_region, packed, same
from grpc import RpcError
from infer_requests import placed
from partitions import Partition, partition

from spark_accel.protocol import accel_pb2, accel_pb2_grpc


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as daemon:
        daemon.load("kmeans_lloyd", "kmeans_costs", "logistic_multinomial")
        yield daemon


OLD, NEW = (partition(np.random.default_rng(seed), 40, 6) for seed in (1, 2))


def of(data: Partition, kernel: str = "kmeans_lloyd", **parameters: int) -> Call:
    """A call with arguments that are the same for every partition."""
    return call(kernel, data, np.random.default_rng(3), **parameters)


def content(data: Partition, kernel: str = "kmeans_lloyd") -> bytes:
    """The bytes of the region that the partition's columns lie in."""
    return packed(of(data, kernel).columns)[0]


def placed_in(one: Call, name: str) -> Call:
    """The call with its columns in region `name`."""
    offsets = packed(one.columns)[1]
    return replace(
        one, places={column: placed(name, values.nbytes, offsets[column]) for column, values in one.columns.items()}
    )


def answers(daemon: Daemon, one: Call, data: Partition) -> bool:
    """Whether the call is answered as the data wants it."""
    return same(one.answer(daemon), expected(one, data))


def test_a_rewritten_region_is_read_again_under_a_new_version_only(daemon: Daemon) -> None:
    one = placed_in(of(OLD, content_version=1), "a")
    with region(daemon, "a", content(OLD)) as file:
        assert answers(daemon, one, OLD)
        file.write_bytes(content(NEW))

        assert answers(daemon, one, OLD)
        assert answers(daemon, one.changed(content_version=2), NEW)
        assert answers(daemon, one, NEW)  # the older version is gone


def test_without_a_version_each_request_reads_the_region(daemon: Daemon) -> None:
    one = placed_in(of(OLD), "a")
    with region(daemon, "a", content(OLD)) as file:
        assert answers(daemon, one, OLD)
        file.write_bytes(content(NEW))

        assert answers(daemon, one, NEW)
        assert answers(daemon, one.changed(content_version=0), NEW)


def test_a_region_that_is_registered_anew_is_read_again(daemon: Daemon) -> None:
    one = placed_in(of(OLD, content_version=1), "a")
    for data in (OLD, NEW, OLD):
        with region(daemon, "a", content(data)):
            assert answers(daemon, one, data)
            assert answers(daemon, one, data)


def test_another_region_is_other_content(daemon: Daemon) -> None:
    with region(daemon, "a", content(OLD)), region(daemon, "b", content(NEW)):
        for _ in range(2):
            assert answers(daemon, placed_in(of(OLD, content_version=1), "a"), OLD)
            assert answers(daemon, placed_in(of(OLD, content_version=1), "b"), NEW)


def test_models_of_one_precision_share_what_is_kept(daemon: Daemon) -> None:
    lloyd, costs = (placed_in(of(OLD, kernel, content_version=1), "a") for kernel in ("kmeans_lloyd", "kmeans_costs"))
    with region(daemon, "a", content(OLD)) as file:
        assert answers(daemon, lloyd, OLD)
        file.write_bytes(content(NEW))

        assert answers(daemon, costs, OLD)


def test_the_cut_into_rows_and_features_is_part_of_the_content(daemon: Daemon) -> None:
    one = of(OLD, content_version=1)
    values = OLD.columns["values"]
    reshaped = Partition(values.reshape(20, 32).astype(np.float64), {"values": values})
    other = replace(of(reshaped, content_version=1), columns={"values": values})
    unweighted = replace(one, columns={"values": values})
    with region(daemon, "a", content(OLD)):
        for _ in range(2):
            assert answers(daemon, placed_in(one, "a"), OLD)
            assert answers(daemon, placed_in(unweighted, "a"), Partition(OLD.x, {"values": values}))
            assert answers(daemon, placed_in(other, "a"), reshaped)


def test_labels_that_are_out_of_range_are_named_each_time(daemon: Daemon) -> None:
    labels = np.full(OLD.rows, 3, np.int32)
    one = of(Partition(OLD.x, OLD.columns | {"labels": labels}), "logistic_multinomial", content_version=1)
    with in_region(daemon, one) as placed_one:
        for _ in range(2):
            code, text = daemon.infer_refused(placed_one.message())
            assert (code, "'labels' has values from 3 to 3" in text) == ("INVALID_ARGUMENT", True)


def test_a_new_worker_reads_the_region_again(daemon: Daemon) -> None:
    one = placed_in(of(OLD, content_version=1), "a")
    with region(daemon, "a", content(OLD)) as file:
        assert answers(daemon, one, OLD)
        file.write_bytes(content(NEW))
        (device,) = accel_pb2_grpc.NodeStub(daemon.channel).Devices(accel_pb2.DevicesRequest(), timeout=30).devices
        os.kill(device.worker_pid, signal.SIGKILL)

        eventually(lambda: answered(daemon, one), what="the new worker answers")
        assert answers(daemon, one, NEW)


def test_descriptors_that_are_used_again_are_no_identity(daemon: Daemon) -> None:
    # A worker gives the next region the descriptor of the one that was closed just before.
    with region_file("first", content(OLD)) as old, region_file("second", content(NEW)) as new:
        for file, data in ((old, OLD), (new, NEW), (old, OLD)):
            registered(daemon, file)
            assert answers(daemon, placed_in(of(OLD, content_version=1), file.name), data)
            daemon.call("SystemSharedMemoryUnregister", name=file.name)


def registered(daemon: Daemon, file: Path) -> None:
    daemon.call("SystemSharedMemoryRegister", name=file.name, key=file.name, byte_size=file.stat().st_size)


def answered(daemon: Daemon, one: Call) -> bool:
    try:
        daemon.infer(one.message())
    except RpcError as error:
        assert error.code().name == "UNAVAILABLE"  # noqa: PT017 - whatever else it is, waiting won't help
        return False
    return True
