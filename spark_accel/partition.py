"""Classifies the rows of one partition, in a Python worker of Spark: cells in, lists of classes out, in order.

Cells are read by `columns.py`, in threads; batches are kept in flight by `pipeline.py`; which board a task has is
`task_board.py`'s. What makes a Column function of this is `functions.py`.
"""

import itertools
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark import TaskContext

from spark_accel import client, columns, imagenet, pipeline, settings, task_board
from spark_accel.client import TopClasses
from spark_accel.errors import DecodeError
from spark_accel.network_facts import NetworkFacts

_FIELDS = [
    pa.field("index", pa.int32()),
    pa.field("id", pa.string()),
    pa.field("label", pa.string()),
    pa.field("score", pa.float32()),
]
_REASONS_SHOWN = 3
_log = logging.getLogger("spark_accel")


def classify(
    arrays: Iterator[pa.Array], configuration: Mapping[str, str], model: str, top: int, *, strict: bool
) -> Iterator[pa.Array]:
    """The `top` best classes of each row of `arrays`, null where there is no image; in batches of another size.

    Raises DecodeError, naming the row, for an image that can't be decoded if `strict`; else that row is null, too.
    Raises AccelError for a board that Spark gave the task and the daemon doesn't drive, if `fallback` is `error`.
    """
    first = next(arrays, None)
    if first is None:  # an empty partition needs no network
        return
    resolved = settings.from_spark(configuration)
    node = client.shared(resolved)
    network = imagenet.network(node, resolved, model)
    ids, labels = pa.array(network.ids, pa.string()), pa.array(network.labels, pa.string())
    partition = _Partition(network, _decoders(os.getpid(), _decoding_threads()), strict=strict)
    batches = _regroup(itertools.chain([first], arrays), network.max_batch)
    top, board = min(top, network.classes), task_board.assigned(node, resolved)
    answers = pipeline.classify(node, network, top, batches, partition.write, device=board)
    for classified, classes in answers:
        yield _results(classified, classes, ids, labels)
    partition.report()


def _regroup(arrays: Iterable[pa.Array], rows: int) -> Iterator[list[pa.Array]]:
    """Slices of `arrays`, put together so that each group but the last has `rows` rows."""
    group: list[pa.Array] = []
    wanted = rows
    for array in arrays:
        start = 0
        while start < len(array):
            group.append(array.slice(start, wanted))
            start += len(group[-1])
            wanted -= len(group[-1])
            if not wanted:
                yield group
                group, wanted = [], rows
    if group:
        yield group


class _Partition:
    """Decodes the rows of one partition, in order, and remembers those that it could not."""

    def __init__(self, network: NetworkFacts, threads: ThreadPoolExecutor, *, strict: bool) -> None:
        context = TaskContext.get()
        self._number = context.partitionId() if context else 0
        self._network = network
        self._threads = threads
        self._strict = strict
        self._rows = 0
        self._undecodable = 0
        self._reasons: list[str] = []

    def write(self, group: list[pa.Array], pixels: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.bool_], int]:
        """Decodes the cells into the first of `pixels`; returns which rows have an image, and how many have."""
        cells = [(columns.reader(array.type), cell) for array in group for cell in array]
        present = np.flatnonzero([cell.is_valid for _, cell in cells])
        reasons = list(self._threads.map(self._decode, [cells[row] for row in present], pixels))
        good = np.array([reason is None for reason in reasons], bool)
        for row, reason in zip(present, reasons, strict=True):
            if reason is not None:
                self._note(f"row {self._rows + row} of partition {self._number} (from 0): {reason}")
        if not good.all():
            pixels[: good.sum()] = pixels[: len(good)][good]
        classified = np.zeros(len(cells), bool)
        classified[present[good]] = True
        self._rows += len(cells)
        return classified, int(good.sum())

    def _decode(self, reader_and_cell: tuple[columns.Reader, pa.Scalar], out: npt.NDArray[np.uint8]) -> str | None:
        read, cell = reader_and_cell
        try:
            read(cell, self._network, out)
        except DecodeError as error:
            return str(error)
        return None

    def _note(self, reason: str) -> None:
        if self._strict:
            raise DecodeError(f"no image can be made of {reason}. try_predict gives null for such a row and goes on")
        self._undecodable += 1
        if len(self._reasons) < _REASONS_SHOWN:
            self._reasons.append(reason)

    def report(self) -> None:
        """One warning for all rows that became null."""
        if self._undecodable:
            shown = "; ".join(self._reasons)
            more = self._undecodable - len(self._reasons)
            _log.warning(
                "try_predict: %d of %d rows of partition %d can't be decoded and are null: %s%s",
                self._undecodable,
                self._rows,
                self._number,
                shown,
                f"; and {more} more" if more else "",
            )


def _results(
    classified: npt.NDArray[np.bool_], classes: TopClasses | None, ids: pa.Array, labels: pa.Array
) -> pa.ListArray:
    """A list of the result's structs for each row that was classified, null for the others."""
    if classes is None:
        return pa.nulls(len(classified), pa.list_(pa.struct(_FIELDS)))
    index = pa.array(classes.index.ravel(), pa.int32())
    score = pa.array(classes.score.ravel(), pa.float32())
    structs = pa.StructArray.from_arrays([index, ids.take(index), labels.take(index), score], fields=_FIELDS)
    offsets = np.concatenate([[0], np.cumsum(classified)]) * classes.index.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs, mask=pa.array(~classified))


@cache
def _decoders(process: int, count: int) -> ThreadPoolExecutor:
    """The threads that decode, for all tasks of a process; a fork has none of its parent's."""
    return ThreadPoolExecutor(count, f"spark-accel-decode-{process}")


def _decoding_threads() -> int:
    """As many as the task has cores, at least two where the machine has: a device that waits costs more than a core."""
    context = TaskContext.get()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, max(2, context.cpus() if context else 1))
