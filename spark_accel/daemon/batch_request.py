"""A request as a worker sees it: inputs that can be read where they lie, and places where outputs are wanted.

The frames that this decodes are described in `batch_messages.py`. A region's file is read and written by calls, so that
a file that was cut short is an error of one request; what an estimator reads again and again is mapped, after a look at
the file's size.
"""

import math
import mmap
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from grpc import StatusCode

from spark_accel.daemon.link import Buffer, Header
from spark_accel.daemon.request import RequestError


class Place(NamedTuple):
    """`size` bytes at `offset` of the open file of a region. `region` is its number, which is never used twice."""

    region: int
    descriptor: int
    offset: int
    size: int

    def read_into(self, view: memoryview, name: str, start: int = 0) -> None:
        """Fills `view` with the bytes of input `name` from `start` on; raises RequestError if the file is too short."""
        done = 0
        while done < len(view):
            got = os.preadv(self.descriptor, [view[done:]], self.offset + start + done)
            if not got:
                raise self._cut(f"input '{name}'")
            done += got

    def check(self, name: str) -> None:
        """Raises RequestError if the file is too short for input `name`."""
        if not self.holds(self.size):
            raise self._cut(f"input '{name}'")

    def mapped(self, spare: int) -> memoryview | None:
        """The bytes where they lie and `spare` more, which have no meaning; None if the file ends before.

        Who cuts the file short while they are read ends this process: call `holds` at least once a request.
        """
        if not self.holds(self.size + spare):
            return None
        ahead = self.offset % mmap.ALLOCATIONGRANULARITY
        length = ahead + self.size + spare
        return memoryview(
            mmap.mmap(self.descriptor, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=self.offset - ahead)
        )[ahead:]

    def write(self, data: Buffer, name: str) -> None:
        """Writes the bytes of output `name`; raises RequestError if there are too many or the file is too short."""
        view = memoryview(data).cast("B")
        if len(view) > self.size:
            raise RequestError(
                StatusCode.INTERNAL,
                f"shared memory size specified with the request for output '{name}' ({self.size} bytes) should be at"
                f" least {len(view)} bytes to hold the results",
            )
        if not self.holds(len(view)):
            raise self._cut(f"output '{name}'")
        done = 0
        while done < len(view):
            done += os.pwrite(self.descriptor, view[done:], self.offset + done)

    def holds(self, length: int) -> bool:
        """Whether the file still has so many bytes from the place's offset on."""
        return os.fstat(self.descriptor).st_size >= self.offset + length

    def _cut(self, what: str) -> RequestError:
        return RequestError(
            StatusCode.INVALID_ARGUMENT,
            f"the shared memory of {what} was cut short: {self.size} bytes at {self.offset} are wanted and the file"
            f" has {os.fstat(self.descriptor).st_size}",
        )


class Input(NamedTuple):
    """An input tensor; `source` is its bytes or where they lie."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    source: Buffer | Place

    @property
    def inline(self) -> bool:
        """Whether it came with the request, and was checked by the server."""
        return not isinstance(self.source, Place)

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return self.source.size if isinstance(self.source, Place) else len(self.source)

    @property
    def elements(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def read(self) -> Buffer:
        """The bytes; raises RequestError."""
        if not isinstance(self.source, Place):
            return self.source
        data = bytearray(self.source.size)
        self.source.read_into(memoryview(data), self.name)
        return data

    def read_into(self, view: memoryview) -> None:
        """Copies the bytes into `view`, which is as long; raises RequestError."""
        if isinstance(self.source, Place):
            self.source.read_into(view, self.name)
        else:
            view[:] = self.source


class BatchRequest(NamedTuple):
    """One request of a batch. `outputs` are the names that are wanted, with their places; empty: all, inline."""

    inputs: Mapping[str, Input]
    outputs: Mapping[str, Place | None]
    parameters: Mapping[str, Any]
    batch: int
    id: str

    def wants(self, output: str) -> bool:
        """Whether the output is to be answered."""
        return not self.outputs or output in self.outputs

    def inline_bytes(self, sizes: Mapping[str, int], most: int) -> int:
        """How many bytes of outputs of these sizes travel with the answer; raises RequestError for more than `most`.

        To be asked before they are computed: what an answer holds passes through the daemon, which is others' too.
        """
        inline = {name: size for name, size in sizes.items() if self.wants(name) and self.outputs.get(name) is None}
        total = sum(inline.values())
        if total > most:
            each = ", ".join(f"'{name}' {size:,}" for name, size in inline.items())
            raise RequestError(
                StatusCode.RESOURCE_EXHAUSTED,
                f"{total:,} bytes of outputs are wanted inline ({each}), and an answer holds at most"
                f" {most:,}: have them written to a shared-memory region, or ask for smaller ones",
            )
        return total


def decode(header: Header, payload: memoryview, files: Mapping[int, int]) -> list[BatchRequest]:
    """The requests of a batch; `files` are the descriptors of the regions by number."""
    at = 0

    def input_of(name: str, datatype: str, shape: Sequence[int], place: int | Sequence[int]) -> Input:
        nonlocal at
        if not isinstance(place, int):
            return Input(name, datatype, tuple(shape), _place(place, files))
        at += place
        return Input(name, datatype, tuple(shape), payload[at - place : at])

    return [
        BatchRequest(
            {described[0]: input_of(*described) for described in request["inputs"]},
            {name: place and _place(place, files) for name, place in request["outputs"]},
            request["parameters"],
            request["batch"],
            request["id"],
        )
        for request in header["requests"]
    ]


def _place(place: Sequence[int], files: Mapping[int, int]) -> Place:
    region, offset, size = place
    return Place(region, files[region], offset, size)
