"""What a worker keeps of partitions, and devices whose memory is full: no daemon, the reference as the engine."""

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st
from partitions import pack

from spark_accel.daemon import devices, estimator_backend, memory_budget
from spark_accel.daemon.backends import Outcome
from spark_accel.daemon.batch_request import BatchRequest, Input, Place
from spark_accel.daemon.content_cache import Content, ContentCache, Part
from spark_accel.daemon.estimator_backend import Estimators
from spark_accel.daemon.network import DeviceMemoryError
from spark_accel.daemon.request import RequestError
from spark_accel.estimators.reference import ReferenceData, ReferenceEngine
from spark_accel.estimators.rows import ArrayColumn, DataError, Rows
from spark_accel.estimators.sums import Float64, LloydSums

ROW = 64  # bytes of a packed row of up to 16 float32


def rows(count: int, value: float = 1.0) -> Rows:
    """A partition of `count` rows, of ROW bytes each."""
    return Rows(count, 3, ArrayColumn(pack(np.full((count, 3), value, np.float32))["values"]))


def content(region: int, version: int = 1, count: int = 1) -> Content:
    return Content((Part("values", "FP32", region, 0, ROW * count),), count, 3, version)


class SmallDevice(ReferenceEngine):
    """The reference on a device whose memory holds so many bytes of resident data, whatever the budget says."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.loads = 0

    def load(self, rows: Rows, resident: bool) -> ReferenceData:
        self.loads += 1
        if resident and rows.nbytes > self.memory:
            raise DeviceMemoryError(f"{rows.nbytes} bytes wanted, the device has {self.memory}")
        return super().load(rows, resident)


def test_what_is_kept_is_found_again() -> None:
    engine = SmallDevice(2**20)
    cache = ContentCache(engine, 2**20, 1000)

    first, second = (cache.load(rows(2), content(1)) for _ in range(2))

    assert first is second
    assert first.resident
    assert (engine.loads, len(cache), cache.size) == (1, 1, 2 * ROW)


def test_the_least_recently_used_makes_room() -> None:
    engine = SmallDevice(2**20)
    cache = ContentCache(engine, 3 * ROW, 1000)
    for region in (1, 2, 3, 1, 4):  # 4 needs the room of 2, which was used before 1
        cache.load(rows(1), content(region))

    before = engine.loads
    for region in (3, 1, 4):
        cache.load(rows(1), content(region))
    assert engine.loads == before
    cache.load(rows(1), content(2))
    assert engine.loads == before + 1


def test_what_is_larger_than_the_budget_is_streamed_and_drives_nobody_out() -> None:
    cache = ContentCache(SmallDevice(2**20), 3 * ROW, 1000)
    small = cache.load(rows(1), content(1))

    large = cache.load(rows(4), content(2, count=4))

    assert not large.resident
    assert cache.load(rows(1), content(1)) is small
    assert cache.load(rows(4), content(2, count=4)) is large


def test_what_the_device_has_no_memory_for_is_streamed() -> None:
    engine = SmallDevice(2 * ROW)
    cache = ContentCache(engine, 2**20, 1000)

    assert not cache.load(rows(3), content(1, count=3)).resident
    assert engine.loads == 3  # once, once with all room that can be made, and streamed
    assert cache.load(rows(2), content(2, count=2)).resident


def test_another_version_replaces_the_one_before() -> None:
    cache = ContentCache(SmallDevice(2**20), 2**20, 1000)
    for version in (1, 2, 5, 3):
        cache.load(rows(1, version), content(1, version))
        cache.load(rows(1), content(2, version=1))

    assert len(cache) == 2


def test_a_closed_region_takes_all_with_it_that_was_read_from_it() -> None:
    cache = ContentCache(SmallDevice(2**20), 2**20, 1000)
    labels = Part("labels", "INT32", 2, 0, 4)
    cache.load(rows(1), Content((*content(1).parts, labels), 1, 3, 1))
    cache.load(rows(1), content(3))

    cache.region_closed(2)
    assert len(cache) == 1
    cache.region_closed(3)
    assert (len(cache), cache.size) == (0, 0)


def test_no_more_are_kept_than_there_may_be_though_they_take_nothing() -> None:
    cache = ContentCache(SmallDevice(0), 2**20, 2)  # all of it is streamed

    for region in (1, 2, 1, 3):
        cache.load(rows(1), content(region))

    assert (len(cache), cache.size) == (2, 0)
    cache.region_closed(2)  # least recently used, and gone
    assert len(cache) == 2


def test_what_can_not_be_loaded_is_not_kept() -> None:
    cache = ContentCache(SmallDevice(2**20), 2**20, 1000)

    with pytest.raises(DataError, match="'values' has 16 elements"):
        cache.load(Rows(2, 3, rows(1).values), content(1))

    assert len(cache) == 0


@given(
    st.integers(0, 12),
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 6)), min_size=1, max_size=40),
)
def test_the_budget_holds_and_data_is_never_another_s(budget: int, loads: list[tuple[int, int, int]]) -> None:
    cache = ContentCache(SmallDevice(2**20), budget * ROW, 1000)
    for region, version, count in loads:
        if version == 3:
            cache.region_closed(region)
        value = 100.0 * region + 10 * version + count
        data = cache.load(rows(count, value), content(region, version, count))

        assert [block.x.tolist() for block in data] == [[[value] * 3] * count]
        assert data.resident == (count <= budget)
        assert cache.size <= budget * ROW


class LateDevice(ReferenceEngine):
    """A device that notices how little memory it has only when it computes, or when that is waited for.

    `fits(data)` says whether it is enough.
    """

    def __init__(self, fits: Callable[[ReferenceData], bool], waited_for: bool) -> None:
        self.fits = fits
        self.waited_for = waited_for

    def lloyd(self, data: ReferenceData, centres: Float64) -> Callable[[], LloydSums]:
        def refused() -> NoReturn:
            raise DeviceMemoryError("a partition of 2 rows does not fit; send at most 1")

        if self.fits(data):
            return super().lloyd(data, centres)
        return refused if self.waited_for else refused()


def lloyd_on(engine: ReferenceEngine, file: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """The outcome of `kmeans_lloyd` for two rows of ones in a file, with a content_version."""
    monkeypatch.setattr(estimator_backend, "_engine", lambda _device, _tier: engine)
    file.write_bytes(pack(np.ones((2, 3), np.float32))["values"].tobytes())
    centre = np.zeros(3).tobytes()
    with file.open("rb") as opened:
        inputs = {
            "values": Input("values", "FP32", (32,), Place(1, opened.fileno(), 0, 2 * ROW)),
            "centres": Input("centres", "FP64", (3,), memoryview(b"." + centre)[1:]),
        }
        parameters = {"rows": 2, "features": 3, "content_version": 1}
        request = BatchRequest(inputs, {}, parameters, 1, "")
        (outcome,) = Estimators(None, "auto").model("kmeans_lloyd").begin([request], lambda: None).result()
    return outcome


@pytest.mark.parametrize("waited_for", [False, True])
def test_a_device_that_notices_late_that_its_memory_is_full_is_streamed_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waited_for: bool
) -> None:
    outcome = lloyd_on(LateDevice(lambda data: not data.resident, waited_for), tmp_path / "values", monkeypatch)

    assert {output.name: np.frombuffer(output.data).tolist() for output in outcome} == {
        "sums": [2.0, 2.0, 2.0],
        "weight_sums": [2.0],
        "cost": [6.0],
    }


@pytest.mark.parametrize("waited_for", [False, True])
def test_what_does_not_even_fit_when_it_is_streamed_is_refused_with_what_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waited_for: bool
) -> None:
    outcome = lloyd_on(LateDevice(lambda _data: False, waited_for), tmp_path / "values", monkeypatch)

    assert isinstance(outcome, RequestError)
    assert (outcome.code.name, outcome.message) == (
        "RESOURCE_EXHAUSTED",
        "a partition of 2 rows does not fit; send at most 1",
    )


def test_the_reference_keeps_at_most_a_quarter_of_the_host_s_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory_budget, "_LIMITS", (limit,))
    everything = memory_budget.of_device(None)

    for text, expected in (("max\n", everything), ("4194304\n", 2**20), (f"{2**63 - 4096}\n", everything)):
        limit.write_text(text)
        assert memory_budget.of_device(None) == expected
    assert 0 < everything < 2**50


def test_a_device_in_the_host_s_memory_leaves_most_of_it_to_others() -> None:
    device = devices.open_device("cpu-0")

    budget = memory_budget.of_device(device)

    assert 0 < budget <= device.global_mem_size // 2
    assert budget <= memory_budget.of_device(None)


def test_answers_that_are_too_many_bytes_together_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimator_backend, "_MOST_INLINE", 5 * 8)  # of the one: 3 sums, a weight, a cost
    inputs = {
        "values": Input("values", "FP32", (16,), pack(np.ones((1, 3), np.float32))["values"].tobytes()),
        "centres": Input("centres", "FP64", (3,), np.zeros(3).tobytes()),
    }
    one = BatchRequest(inputs, {}, {"rows": 1, "features": 3}, 1, "")

    first, second = Estimators(None, "auto").model("kmeans_lloyd").begin([one, one], lambda: None).result()

    assert not isinstance(first, RequestError)
    assert isinstance(second, RequestError)
    assert second.code == StatusCode.UNAVAILABLE
