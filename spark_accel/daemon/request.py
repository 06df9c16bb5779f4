"""What the server hands to the scheduler, and the scheduler to a worker: requests that have passed every check.

The server (`server.py`, `validation.py`) makes these from protocol messages; the scheduler knows nothing of gRPC but
its status codes. Sizes and offsets are bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from grpc import StatusCode


class RequestError(Exception):
    """A refusal, with the status code and text that the client gets."""

    def __init__(self, code: StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class RegionSlice:
    """A part of a registered region, checked against the region's size. `offset` counts from the *file's* start."""

    region: int  # the region's number, never used twice in one daemon; `Regions.descriptor(number)` gives the open file
    offset: int
    size: int


@dataclass(frozen=True)
class InputTensor:
    """An input: `data` is its bytes, little-endian and row-major, or where they lie."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | RegionSlice


@dataclass(frozen=True)
class RequestedOutput:
    """An output that the client asked for; `region` says where to write it, else it is answered inline."""

    name: str
    region: RegionSlice | None = None
    classification: int = 0  # above 0: answer this many `value:index:label` strings a row (done by the server)


@dataclass(frozen=True)
class InferenceRequest:
    """One request. `batch` is its number of rows, 1 where the model does not batch. No outputs named: all."""

    model: str
    version: int
    id: str
    inputs: tuple[InputTensor, ...]
    outputs: tuple[RequestedOutput, ...]
    parameters: Mapping[str, str | int | bool | float] = field(default_factory=dict)
    batch: int = 1
    priority: int = 0  # 0: the model's default level
    timeout_us: int = 0  # 0: the model's default
    lease: str = ""


@dataclass(frozen=True)
class OutputTensor:
    """An output: `data` is None where it was written to the region that the request named."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | None


@dataclass(frozen=True)
class InferenceResult:
    """The answer, outputs in the model's own order."""

    outputs: tuple[OutputTensor, ...]
