"""Values in a region with room behind them: a device in the host's memory reads them there, and copies nothing."""

import gc
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from daemons import Daemon, region, running
from estimator_calls import call, packed, same
from infer_requests import placed
from kernel_cases import engine, tiers
from partitions import Partition, partition
from test_estimator_backend import worker_pid

from spark_accel.daemon.batch_request import Place
from spark_accel.daemon.estimator_request import RegionColumn
from spark_accel.estimators.rows import Rows, stride

ROOM = 15  # rows behind the last, see docs/estimator-kernels.md
DATA = partition(np.random.default_rng(1), 3000, 20, weighted=False)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), device="cpu") as daemon:  # the reference copies
        daemon.load("kmeans_lloyd")
        yield daemon


@pytest.fixture
def rows_in_a_file(tmp_path: Path) -> Iterator[Callable[[int, int], Rows]]:
    """DATA's values in a file, so many bytes from its start and with room for so many rows at its end."""
    with (tmp_path / "region").open("w+b") as file:

        def rows(ahead: int, room_rows: int) -> Rows:
            values = DATA.columns["values"]
            room = bytes(room_rows * stride(DATA.features) * values.itemsize)
            file.write(bytes(ahead) + values.tobytes() + room)
            file.flush()
            place = Place(1, file.fileno(), ahead, values.nbytes)
            return Rows(DATA.rows, DATA.features, RegionColumn("values", values.dtype, place))

        yield rows


@pytest.mark.parametrize(
    ("ahead", "room_rows", "copied"), [(0, ROOM, False), (4160, ROOM, False), (0, ROOM - 1, True), (8, ROOM, True)]
)
@pytest.mark.parametrize("tier", tiers("kmeans"))
def test_aligned_values_with_room_behind_them_take_no_memory(
    tier: str, rows_in_a_file: Callable[[int, int], Rows], ahead: int, room_rows: int, copied: bool
) -> None:
    rows = rows_in_a_file(ahead, room_rows)
    device = engine(tier)

    data = device.load(rows, resident=True)

    assert (device.resident_bytes(data) >= DATA.columns["values"].nbytes) == copied
    assert (device.wanted_bytes(rows) > 0) == copied
    assert (device.resident_bytes(data) > 0) == copied


@pytest.mark.parametrize("tier", tiers("kmeans"))
def test_the_bits_are_those_of_copied_values(tier: str, rows_in_a_file: Callable[[int, int], Rows]) -> None:
    centres = np.random.default_rng(2).random((7, 20))
    device = engine(tier)

    found = device.lloyd(device.load(rows_in_a_file(0, ROOM), resident=True), centres)()
    copied = device.lloyd(device.load(DATA.as_rows(), resident=True), centres)()

    assert found.sums.tobytes() == copied.sums.tobytes()
    assert found.cost == copied.cost


@pytest.mark.parametrize("tier", tiers("kmeans"))
def test_kernels_under_way_together_keep_the_rows_that_they_read(
    tier: str, rows_in_a_file: Callable[[int, int], Rows]
) -> None:
    rng, device, rows = np.random.default_rng(3), engine(tier), rows_in_a_file(0, ROOM)
    centres = [rng.random((k, 20)) for k in (7, 40, 3)]

    begun = [device.lloyd(device.load(rows, resident=True), some) for some in centres]
    gc.collect()
    found = [answer() for answer in reversed(begun)]

    copied = device.load(DATA.as_rows(), resident=True)
    alone = [device.lloyd(copied, some)() for some in reversed(centres)]
    assert [one.sums.tobytes() for one in found] == [one.sums.tobytes() for one in alone]


@pytest.mark.parametrize("tier", tiers("kmeans"))
def test_a_partition_without_values_is_taken_wherever_they_would_lie(tier: str) -> None:
    room = np.zeros(64, np.float32)
    device = engine(tier)

    for at in range(0, 64, 4):  # one of them is aligned
        nothing = {"values": np.ndarray(0, np.float32, room, at), "indices": np.zeros(0, np.int32)}
        columns = {**nothing, "row_pointers": np.zeros(4, np.int64)}
        data = device.load(Partition(np.zeros((3, 2)), columns).as_rows(), resident=True)
        assert device.lloyd(data, np.ones((1, 2)))().cost == 6


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (100, "the shared memory of input 'values' was cut short"),
        (DATA.columns["values"].nbytes, "'values' were cut short where they lie, or what lay behind them"),
    ],
)
def test_a_file_that_is_cut_short_after_it_was_used_is_the_request_s_fault(
    daemon: Daemon, left: int, said: str
) -> None:
    one = call("kmeans_lloyd", DATA, np.random.default_rng(3), content_version=1)
    content, offsets = packed(one.columns)
    content += bytes(ROOM * stride(DATA.features) * 4)
    worker = worker_pid(daemon)
    with region(daemon, "a", content) as file:
        one = replace(one, places={name: placed("a", part.nbytes, offsets[name]) for name, part in one.columns.items()})
        before = one.answer(daemon)
        os.truncate(file, left)

        code, text = daemon.infer_refused(one.message())

        assert (code, said in text) == ("INVALID_ARGUMENT", True)
        file.write_bytes(content)
        assert same(one.answer(daemon), before)
    assert worker_pid(daemon) == worker
