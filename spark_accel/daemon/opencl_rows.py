"""A partition in a device's memory: checked, and cut into chunks of whole slices.

A slice is how many rows a kernel sums on its own (`slice_rows`); it depends on the partition's shape alone, so that
sums don't depend on the device, nor on whether the rows stay there. A chunk is what lies in device memory at once: of
resident rows all chunks do, each as large as the device allows; others go through two chunks' memory, call by call. A
device that computes in the host's memory takes resident values from where they lie, if they can be had there; other
columns are always copied, since kernels rely on what they hold.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from spark_accel.daemon.opencl_buffers import buffer, in_place, mapped
from spark_accel.daemon.opencl_staging import Staging
from spark_accel.estimators.rows import Column, DataError, Rows, check_range, check_row_pointers, read, stride

_SLICE = (512, 4096)  # rows of a slice, least and most, where the next two don't want fewer
_SLICES = 32  # as many at least, for partitions that have the rows
_SLICE_BYTES = 32 * 2**20  # of a dense slice, at most
_STREAMED_BYTES = 64 * 2**20  # of a chunk of rows that don't stay
_SPARE_ROWS = 15  # behind a chunk's last row: kernels read whole tiles
_ALIGNMENT = 64  # bytes: of a vector
_LARGEST = 2**31 - 1  # rows of a chunk: kernels count them in int
_DTYPES = {"indices": np.int32, "row_pointers": np.int64, "labels": np.int32, "weights": np.float64}


def slice_rows(rows: Rows) -> int:
    """How many rows a slice of this partition has: a power of two, at least 16."""
    found = _SLICE[1]
    while found > _SLICE[0] and rows.rows < _SLICES * found:
        found //= 2
    row_bytes = 0 if rows.sparse else stride(rows.features) * rows.values.dtype.itemsize
    while found > 16 and found * row_bytes > _SLICE_BYTES:
        found //= 2
    return found


@dataclass(frozen=True)
class Span:
    """Rows `start` to `stop`, and the elements of `values` that are theirs."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def rows(self) -> int:
        """How many rows."""
        return self.stop - self.start


class Chunk:
    """Device memory for a span's columns, got from `allocate(purpose, bytes)`; `span` is what it holds.

    `lying` are the values where they are not to be copied.
    """

    def __init__(
        self,
        rows: Rows,
        most_rows: int,
        most_values: int,
        allocate: Callable[[str, int], cl.Buffer],
        lying: cl.Buffer | None = None,
    ) -> None:
        self._rows = rows
        self._copies = lying is None
        self.values = lying or allocate("values", (most_values + _spare(rows)) * rows.values.dtype.itemsize)
        self.indices = allocate("indices", most_values * 4) if rows.sparse else None
        self.pointers = allocate("row pointers", (most_rows + 1) * 8) if rows.sparse else None
        self.labels = allocate("labels", most_rows * 4) if rows.labels is not None else None
        self.weights = allocate("weights", most_rows * 8) if rows.weights is not None else None
        self.span = Span(0, 0, 0, 0)
        self.labels_from_to = (0, 0)

    @property
    def nbytes(self) -> int:
        """How much device memory it takes."""
        values = self.values if self._copies else None
        buffers = (values, self.indices, self.pointers, self.labels, self.weights)
        return sum(one.size for one in buffers if one is not None)

    def fill(self, queue: cl.CommandQueue, span: Span, pointers: npt.NDArray[np.int64] | None) -> None:
        """Reads the span's columns, of sparse rows with the partition's `pointers`, and checks them.

        Raises DataError. What is checked is what the kernels read: nobody else can write to this memory.
        """
        rows, count, elements = self._rows, span.rows, span.last - span.first
        if self._copies:
            with mapped(queue, self.values, rows.values.dtype, elements) as values:
                rows.values.read_into(values, span.first)
        if rows.indices is not None and self.indices is not None:
            with mapped(queue, self.indices, np.int32, elements) as indices:
                rows.indices.read_into(indices, span.first)
                check_range("indices", indices, rows.features)
        if pointers is not None and self.pointers is not None:
            with mapped(queue, self.pointers, np.int64, count + 1) as written:
                np.subtract(pointers[span.start : span.stop + 1], span.first, out=written)
        if rows.labels is not None and self.labels is not None:
            with mapped(queue, self.labels, np.int32, count) as labels:
                rows.labels.read_into(labels, span.start)
                self.labels_from_to = int(labels.min()), int(labels.max())
        if rows.weights is not None and self.weights is not None:
            with mapped(queue, self.weights, np.float64, count) as weights:
                rows.weights.read_into(weights, span.start)
        self.span = span


class DeviceRows:
    """A partition on a device: iterate over its chunks, each of which is good until the next is taken.

    Rows that are not `resident` go through the stages of `staging`: a chunk's kernels are to be enqueued before the
    next one is taken. Raises DataError, and DeviceMemoryError where the device has no room.
    """

    def __init__(self, staging: Staging, rows: Rows, resident: bool) -> None:
        _check(rows)
        self.rows = rows
        self.slice = slice_rows(rows)
        self._staging = staging
        self._resident: list[Chunk] = []
        self._lies = False  # in a region, in the place of memory of the device's
        if resident:
            queue = staging.queue
            pointers = self._pointers()
            values = values_in_place(queue, rows)
            self._lies = values is not None
            for span in self._spans(pointers, queue.device.max_mem_alloc_size):
                lying = None
                if values is not None and span.last > span.first:  # OpenCL has no buffers of nothing
                    lying = in_place(queue.context, values[span.first : span.last + _spare(rows)])
                chunk = Chunk(rows, span.rows, span.last - span.first, functools.partial(buffer, queue), lying)
                chunk.fill(staging.copies, span, pointers)
                self._resident.append(chunk)
            staging.copied()

    @property
    def nbytes(self) -> int:
        """How much device memory stays taken."""
        return sum(chunk.nbytes for chunk in self._resident)

    def __iter__(self) -> Iterator[Chunk]:
        """The chunks in the order of their rows; raises DataError if those that are read now are wrong."""
        if self._lies and not self.rows.values.holds(_spare(self.rows)):  # reading it would end this process
            raise DataError("'values' were cut short where they lie, or what lay behind them")
        if self._resident:
            yield from self._resident
            return
        pointers = self._pointers()
        spans = self._spans(pointers, _STREAMED_BYTES)
        most_rows, most_values = max(span.rows for span in spans), max(span.last - span.first for span in spans)
        for span in spans:
            stage = self._staging.next()
            chunk = Chunk(self.rows, most_rows, most_values, stage.memory.get)
            chunk.fill(self._staging.copies, span, pointers)
            self._staging.copied()
            try:
                yield chunk
            finally:
                self._staging.enqueued(stage)

    def _pointers(self) -> npt.NDArray[np.int64] | None:
        if self.rows.row_pointers is None:
            return None
        pointers: npt.NDArray[np.int64] = read(self.rows.row_pointers)
        check_row_pointers(pointers, len(self.rows.values))
        return pointers

    def _spans(self, pointers: npt.NDArray[np.int64] | None, most_bytes: int) -> Sequence[Span]:
        """The chunks' rows: as many whole slices as `most_bytes` of the largest column take, one at least."""
        rows, width = self.rows, stride(self.rows.features)
        starts = np.append(np.arange(0, rows.rows, self.slice), rows.rows)
        firsts = starts * width if pointers is None else pointers[starts]
        most_values = most_bytes // rows.values.dtype.itemsize - _spare(rows)
        most_rows = min(most_bytes // 8 - 1, _LARGEST)
        spans = []
        at = 0
        while at < len(starts) - 1:
            stop = min(
                int(np.searchsorted(firsts, firsts[at] + most_values, side="right")),
                int(np.searchsorted(starts, starts[at] + most_rows, side="right")),
            )
            stop = max(at + 1, stop - 1)
            spans.append(Span(int(starts[at]), int(starts[stop]), int(firsts[at]), int(firsts[stop])))
            at = stop
        return spans


def values_in_place(queue: cl.CommandQueue, rows: Rows) -> npt.NDArray[Any] | None:
    """The values, with what kernels may read behind them, if the device can take them from where they lie."""
    if not queue.device.type & cl.device_type.CPU:
        return None
    values = rows.values.in_place(_spare(rows))
    return None if values is None or values.ctypes.data % _ALIGNMENT else values


def _spare(rows: Rows) -> int:
    return 0 if rows.sparse else _SPARE_ROWS * stride(rows.features)


def check_labels(chunk: Chunk, classes: int) -> None:
    """Raises DataError unless the chunk has labels, all of them in [0, classes)."""
    if chunk.labels is None:
        raise DataError("this kernel needs 'labels', and the partition has none")
    check_range("labels", np.array(chunk.labels_from_to, np.int32), classes)


def _check(rows: Rows) -> None:
    """Raises DataError unless the columns have the lengths and the types of a partition."""
    rows.check_sizes()
    if rows.values.dtype not in (np.float32, np.float64):
        raise DataError(f"'values' are {rows.values.dtype}, expected float32 or float64")
    for name, dtype in _DTYPES.items():
        column: Column | None = getattr(rows, name)
        if column is not None and column.dtype != dtype:
            raise DataError(f"'{name}' are {column.dtype}, expected {np.dtype(dtype)}")
