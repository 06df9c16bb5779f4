"""`predict` and `try_predict`: Column functions that classify images on the accelerator of the node a row lies on.

This file is Spark's side: the function's shape, settings, partitions, results. Cells are read by `columns.py`, batches
kept in flight by `pipeline.py`.
"""

import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as spark_functions
from pyspark.sql.pandas.functions import pandas_udf
from pyspark.sql.utils import is_remote

from spark_accel import client, columns, imagenet, pipeline, settings
from spark_accel.client import NetworkFacts, TopClasses
from spark_accel.errors import DecodeError

RESULT_TYPE = "array<struct<index:int,id:string,label:string,score:float>>"
_RESULT_FIELDS = [
    pa.field("index", pa.int32()),
    pa.field("id", pa.string()),
    pa.field("label", pa.string()),
    pa.field("score", pa.float32()),
]
_arrow_udf: Any = getattr(spark_functions, "arrow_udf", None)  # from Spark 4.1 on
_REASONS_SHOWN = 3
_log = logging.getLogger("spark_accel")


def predict(column: Column | str, model: str = "resnet50", top: int = 5) -> Column:
    """The `top` most likely classes of each image in `column`, best first; null where the cell is null.

    The column holds encoded images (JPEG, PNG, …), Spark's `image` structs, or arrays of pixels: see
    `columns.reader`. The result is `array<struct<index:int,id:string,label:string,score:float>>`; scores are the
    softmax over all classes. `top` above the number of classes gives them all.

    The job fails with DecodeError, naming the row, where an image can't be decoded (`try_predict` goes on), and with
    ModelError where the model repository of the node has no such model. Raises ConfigurationError for a wrong
    `spark.accel.*` setting of the session, ValueError for a wrong `top`.
    """
    return _column("predict", column, model, top)


def try_predict(column: Column | str, model: str = "resnet50", top: int = 5) -> Column:
    """As `predict`, with null for an image that can't be decoded; each partition that has any logs how many and why."""
    return _column("try_predict", column, model, top)


def _column(name: str, column: Column | str, model: str, top: int) -> Column:
    if not isinstance(top, int) or top < 1:
        raise ValueError(f"top is {top!r}: expected a whole number of classes, 1 or more")
    session = SparkSession.active()
    configuration = {key: text for key, text in session.conf.getAll.items() if key.startswith(settings.SPARK_PREFIX)}
    settings.from_spark(configuration, {})  # a wrong setting is better heard of here than from a task
    if model == imagenet.NAME and _is_local(session):
        imagenet.provide(settings.from_spark(configuration))
    function = _arrow_function if _arrow_udf else _pandas_function
    return function(name, configuration, model, top)(column)


def _is_local(session: SparkSession) -> bool:
    """Whether the tasks run where the driver does, so that they share its model repository."""
    if is_remote():
        return "SPARK_LOCAL_REMOTE" in os.environ
    return str(session.sparkContext.master).startswith("local")


def _arrow_function(name: str, configuration: Mapping[str, str], model: str, top: int) -> Callable[..., Column]:
    def function(arrays: Iterator[pa.Array]) -> Iterator[pa.Array]:
        return _classify_partition(arrays, configuration, model, top, strict=name == "predict")

    function.__name__ = name
    return _arrow_udf(function, RESULT_TYPE)  # type: ignore[no-any-return]


def _pandas_function(name: str, configuration: Mapping[str, str], model: str, top: int) -> Callable[..., Column]:
    """For Spark 4.0, which has no `arrow_udf`: the same, with a detour through pandas on both sides."""

    def function(cells: Iterator[pd.Series]) -> Iterator[pd.Series]:
        arrays = map(_arrow_of_pandas, cells)
        for result in _classify_partition(arrays, configuration, model, top, strict=name == "predict"):
            yield pd.Series(result.to_pylist(), dtype=object)

    function.__name__ = name
    return cast(Any, pandas_udf)(function, RESULT_TYPE)  # type: ignore[no-any-return] # its stubs want a number


def _arrow_of_pandas(cells: pd.Series | pd.DataFrame) -> pa.Array:
    if isinstance(cells, pd.Series):
        return pa.Array.from_pandas(cells)
    fields = [pa.Array.from_pandas(cells[name]) for name in cells.columns]  # a null makes a column of integers float64
    fields = [field.cast(pa.int32()) if pa.types.is_floating(field.type) else field for field in fields]
    null = pa.array(cells.isna().all(axis=1).to_numpy())
    return pa.StructArray.from_arrays(fields, names=list(cells.columns), mask=null)


def _classify_partition(
    arrays: Iterator[pa.Array], configuration: Mapping[str, str], model: str, top: int, *, strict: bool
) -> Iterator[pa.Array]:
    """Runs in the Python worker, once a task. The results have as many rows as `arrays`, in other batches."""
    first = next(arrays, None)
    if first is None:  # an empty partition needs no network
        return
    node = client.shared(settings.from_spark(configuration))
    network = node.network(model)
    ids, labels = pa.array(network.ids, pa.string()), pa.array(network.labels, pa.string())
    with ThreadPoolExecutor(_decoding_threads(), "spark-accel-decode") as threads:
        partition = _Partition(network, threads, strict=strict)
        batches = _regroup(itertools.chain([first], arrays), network.max_batch)
        answers = pipeline.classify(node, network, min(top, network.classes), batches, partition.write)
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
                self._note(f"row {self._rows + row} of partition {self._number} (both counted from 0): {reason}")
        if not good.all():
            pixels[: good.sum()] = pixels[: len(good)][good]
        classified = np.zeros(len(cells), bool)
        classified[present[good]] = True
        self._rows += len(cells)
        return classified, int(good.sum())

    def _decode(self, reader_and_cell: tuple[columns.Reader, Any], out: npt.NDArray[np.uint8]) -> str | None:
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
    """A list of `RESULT_TYPE`'s structs for each row that was classified, null for the others."""
    if classes is None:
        return pa.nulls(len(classified), pa.list_(pa.struct(_RESULT_FIELDS)))
    index = pa.array(classes.index.ravel(), pa.int32())
    score = pa.array(classes.score.ravel(), pa.float32())
    structs = pa.StructArray.from_arrays([index, ids.take(index), labels.take(index), score], fields=_RESULT_FIELDS)
    offsets = np.concatenate([[0], np.cumsum(classified)]) * classes.index.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs, mask=pa.array(~classified))


def _decoding_threads() -> int:
    """As many as the task has cores, at least two where the machine has: a device that waits costs more than a core."""
    context = TaskContext.get()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, max(2, context.cpus() if context else 1))
