"""What a worker holds of a batch."""

import functools
import gc
import weakref
from collections.abc import Iterator

import pytest

from spark_accel.daemon.backends import Identity
from spark_accel.daemon.batch_request import BatchRequest, Input
from spark_accel.daemon.worker_batch import Batch

CONFIG = {"input": [{"name": "x"}], "output": [{"name": "y"}]}


class Bytes(bytearray):
    """Bytes that can be referred to weakly."""


def requests_of(data: Bytes) -> list[BatchRequest]:
    return [BatchRequest({"x": Input("x", "UINT8", (len(data),), data)}, {"y": None}, {}, 1, "")]


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collector")
def test_a_batch_that_is_answered_is_gone_with_its_data_at_once() -> None:
    data = Bytes(1000)
    batch = Batch("identity", Identity("identity", CONFIG), dict, functools.partial(requests_of, data))
    left = weakref.ref(batch), weakref.ref(data)

    batch.answer(0)
    del batch, data

    assert [one() for one in left] == [None, None]
