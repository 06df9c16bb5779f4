"""Keeps the device busy: while it works on one batch of images, the caller writes the next into another region.

What is written into a batch is the caller's (`partition.py` decodes, `keras/` copies arrays); requests, their retries
and the memory of regions are the client's.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from spark_accel.client import Client, Region, TopClasses
from spark_accel.network_facts import NetworkFacts

Images = npt.NDArray[np.uint8]
Batch = TypeVar("Batch")
Written = TypeVar("Written")

REGIONS = 3  # the device works on one, another waits for it, the third is being filled


def classify(
    client: Client,
    network: NetworkFacts,
    top: int,
    batches: Iterable[Batch],
    write: Callable[[Batch, Images], tuple[Written, int]],
    *,
    device: str = "",
) -> Iterator[tuple[Written, TopClasses | None]]:
    """Classifies `batches` in order, at most `REGIONS` at a time, holding that many regions until it ends or is closed.

    `write(batch, images)` fills the first images of uint8 [max_batch, height, width, 3] and returns whatever the caller
    wants back beside the answer, and how many images it wrote. The answer is None where that is 0. `device` is the id
    of the one that must do it; empty: any.
    """
    shape = (network.max_batch, network.height, network.width, 3)
    regions: list[Region] = []
    free: list[Region] = []
    running: deque[tuple[Written, Future[TopClasses] | None, Region]] = deque()

    def finish() -> tuple[Written, TopClasses | None]:
        written, answer, region = running.popleft()
        classes = None if answer is None else answer.result()
        free.append(region)
        return written, classes

    try:
        for batch in batches:
            if not free and len(regions) == REGIONS:
                yield finish()
            if not free:
                regions.append(client.borrow(int(np.prod(shape))))
                free.append(regions[-1])
            region = free.pop()
            written, count = write(batch, region.array.reshape(shape))
            answer = client.classify(network, region, count, top, device=device) if count else None
            running.append((written, answer, region))
            while running and _is_ready(running[0][1]):
                yield finish()
        while running:
            yield finish()
    finally:
        for region in regions:
            if region in free:
                client.give_back(region)
            else:  # a request that nobody waits for any more may still read it
                region.close()


def _is_ready(answer: Future[TopClasses] | None) -> bool:
    return answer is None or answer.done()
