"""While the device works on one batch the next is written; a device that a test holds up shows that."""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from spark_accel import pipeline
from spark_accel.client import TopClasses
from spark_accel.network_facts import NetworkFacts

UInt8 = npt.NDArray[np.uint8]
NETWORK = NetworkFacts("small", 1, 2, 2, 4, 3, 2, ("a", "b", "c"), ("A", "B", "C"))


@dataclass(eq=False)
class HeldRegion:
    array: UInt8
    all_open: "list[HeldRegion]"

    def close(self) -> None:
        self.all_open.remove(self)


class HeldDevice:
    """A client whose requests are answered, oldest first, when `answer` is called: a daemon can't be held like that.

    The answer's only class is the first byte of the region at the time of the answer.
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[TopClasses], UInt8]] = []
        self.open_regions: list[HeldRegion] = []
        self.spare_regions: list[HeldRegion] = []
        self.most_waiting = 0

    def borrow(self, size: int) -> "HeldRegion":
        self.open_regions.append(HeldRegion(np.zeros(size, np.uint8), self.open_regions))
        return self.open_regions[-1]

    def give_back(self, region: "HeldRegion") -> None:
        region.close()
        self.spare_regions.append(region)

    def classify(
        self, network: NetworkFacts, region: "HeldRegion", count: int, top: int, *, device: str = ""
    ) -> Future[TopClasses]:
        assert network is NETWORK
        assert (count, top, device) == (1, 1, "")
        self.waiting.append((Future(), region.array))
        self.most_waiting = max(self.most_waiting, len(self.waiting))
        return self.waiting[-1][0]

    def answer(self) -> None:
        future, array = self.waiting.pop(0)
        future.set_result(TopClasses(np.array([[array[0]]], np.int32), np.ones((1, 1), np.float32)))


def write(batch: int, pixels: UInt8) -> tuple[int, int]:
    assert pixels.shape == (4, 2, 2, 3)
    pixels[0] = batch
    return batch, 1


def answered(results: Iterator[tuple[int, TopClasses | None]]) -> list[tuple[int, int | None]]:
    return [(batch, None if classes is None else int(classes.index[0, 0])) for batch, classes in results]


def test_a_batch_is_written_while_the_one_before_waits_for_its_answer() -> None:
    device = HeldDevice()

    def write_then_answer(batch: int, pixels: UInt8) -> tuple[int, int]:
        written = write(batch, pixels)
        if batch:  # no answer comes before the next batch has been written
            device.answer()
        return written

    def batches() -> Iterator[int]:
        yield from range(6)
        device.answer()

    assert answered(pipeline.classify(device, NETWORK, 1, batches(), write_then_answer)) == [(n, n) for n in range(6)]


def test_no_region_is_written_before_its_answer_is_there() -> None:
    device = HeldDevice()

    def batches() -> Iterator[int]:
        for batch in range(9):
            if len(device.waiting) == pipeline.REGIONS - 1:
                device.answer()
            yield batch
        while device.waiting:
            device.answer()

    assert answered(pipeline.classify(device, NETWORK, 1, batches(), write)) == [(n, n) for n in range(9)]
    assert device.most_waiting == pipeline.REGIONS - 1
    assert device.open_regions == []


def test_a_batch_without_images_keeps_its_place_and_makes_no_request() -> None:
    device = HeldDevice()

    def write_odd(batch: int, pixels: UInt8) -> tuple[int, int]:
        written = write(batch, pixels)
        return written if batch % 2 else (batch, 0)

    def batches() -> Iterator[int]:
        for batch in range(4):
            yield batch
            if device.waiting:
                device.answer()

    assert answered(pipeline.classify(device, NETWORK, 1, batches(), write_odd)) == [
        (0, None),
        (1, 1),
        (2, None),
        (3, 3),
    ]


def test_all_regions_are_given_back_when_a_batch_cannot_be_written() -> None:
    device = HeldDevice()

    def write_but_third(batch: int, pixels: UInt8) -> tuple[int, int]:
        if batch == 2:
            raise ValueError("no image")
        return write(batch, pixels)

    with pytest.raises(ValueError, match="no image"):
        list(pipeline.classify(device, NETWORK, 1, iter(range(5)), write_but_third))

    assert device.open_regions == []


def test_all_regions_are_given_back_when_nobody_wants_more() -> None:
    device = HeldDevice()

    def batches() -> Iterator[int]:
        yield 0
        device.answer()
        yield 1

    results = pipeline.classify(device, NETWORK, 1, batches(), write)
    next(results)
    assert device.open_regions
    results.close()

    assert device.open_regions == []


def test_only_regions_that_no_request_may_read_any_more_are_lent_again() -> None:
    device = HeldDevice()

    def batches() -> Iterator[int]:
        yield 0
        device.answer()
        yield 1

    results = pipeline.classify(device, NETWORK, 1, batches(), write)
    next(results)
    unanswered = [array for _, array in device.waiting]
    results.close()

    assert unanswered
    assert device.spare_regions
    assert not any(region.array is array for region in device.spare_regions for array in unanswered)
