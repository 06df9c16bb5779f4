"""What the server hands to the scheduler, and the scheduler to a worker: requests that have passed every check.

The server (`server.py`, `validation.py`) makes these from protocol messages; the scheduler knows nothing of gRPC but
its status codes. Sizes and offsets are bytes. They are named tuples because those are made faster than dataclasses.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from grpc import StatusCode


class RequestError(Exception):
    """A refusal, with the status code and text that the client gets."""

    def __init__(self, code: StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class RegionSlice(NamedTuple):
    """A part of a registered region, checked against the region's size. `offset` counts from the *file's* start."""

    region: int  # the region's number, never used twice in one daemon; `Regions.descriptor(number)` gives the open file
    offset: int
    size: int


class InputTensor(NamedTuple):
    """An input: `data` is its bytes, little-endian and row-major, or where they lie."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | RegionSlice


class RequestedOutput(NamedTuple):
    """An output that the client asked for; `region` says where to write it, else it is answered inline."""

    name: str
    region: RegionSlice | None = None
    classification: int = 0  # above 0: answer this many `value:index:label` strings a row (done by the server)


class InferenceRequest(NamedTuple):
    """One request. `batch` is its number of rows, 1 where the model does not batch. No outputs named: all."""

    model: str
    version: int
    id: str
    inputs: tuple[InputTensor, ...]
    outputs: tuple[RequestedOutput, ...]
    parameters: Mapping[str, str | int | bool | float] = MappingProxyType({})
    batch: int = 1
    priority: int = 0  # 0: the model's default level
    timeout_us: int = 0  # 0: the model's default
    lease: str = ""
    device: str = ""  # the one that must run it; empty: any


class OutputTensor(NamedTuple):
    """An output: `data` is None where it was written to the region that the request named."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | None


class InferenceResult(NamedTuple):
    """The answer, outputs in the model's own order."""

    outputs: tuple[OutputTensor, ...]
