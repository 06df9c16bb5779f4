"""The backend `estimator`: the built-in models that docs/estimator-kernels.md describes, on the worker's device.

What a request may say is `estimator_request.py`'s, what a kernel answers `estimator_kernels.py`'s, what stays on the
device `content_cache.py`'s, the arithmetic the engines'.
"""

import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from grpc import StatusCode

from spark_accel.daemon import estimator_request, memory_budget
from spark_accel.daemon.backends import BackendError, Outcome, Output
from spark_accel.daemon.batch_request import BatchRequest
from spark_accel.daemon.begun import Begun
from spark_accel.daemon.content_cache import ContentCache
from spark_accel.daemon.estimator_kernels import FAMILIES, KERNELS, Computation, Outputs
from spark_accel.daemon.kernels import Tier
from spark_accel.daemon.network import DeviceMemoryError
from spark_accel.daemon.request import RequestError
from spark_accel.errors import AccelError
from spark_accel.estimators.rows import DataError, Rows
from spark_accel.estimators.sums import Engine

if TYPE_CHECKING:
    import pyopencl as cl

    from spark_accel.daemon.bitstream_backend import Built

_DATATYPES = {"float64": "FP64", "int32": "INT32"}  # of what kernels answer
# Bytes of a request's outputs. Sums come inline, which grow with the number of features; a message has less than 2 GiB.
_MOST_INLINE = 2**31 - 2**20
Argument = TypeVar("Argument")
Result = TypeVar("Result")


@dataclass(eq=False)
class _Prepared:
    """A request whose inputs are checked, with what the engine made of its partition."""

    rows: Rows
    data: Any
    computation: Computation
    inline: int  # bytes of its answer


@dataclass(frozen=True, eq=False)
class _Answering:
    """A request whose kernel is under way; `answer` waits for it."""

    prepared: _Prepared
    answer: Callable[[], Outputs]


@runtime_checkable
class BoardEngine(Protocol):
    """An engine on a board, which holds the kernels of one family at a time."""

    def take(self, family: str, tier: Tier, program: "cl.Program") -> None:
        """Has a family run on a bitstream from now on."""

    def check(self, family: str, double: bool = False) -> None:
        """Raises AccelError where a family can't run on the board, on float64 rows if `double`."""

    def activate(self, family: str) -> None:
        """Gives the board a family's program."""


class Estimators:
    """What the models of one worker share: the engine, which is also the `board` if it is an FPGA's, and the partitions
    that it keeps."""

    def __init__(self, device: "cl.Device | None", tier: str) -> None:
        try:
            self.engine = _engine(device, tier)
        except AccelError as error:  # no kernels for the device
            raise BackendError(f"Internal: {error}") from error
        self.board = self.engine if isinstance(self.engine, BoardEngine) else None
        # What is mapped holds a descriptor each; the daemon's regions have half of those that there may be.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4
        self.kept: ContentCache[Any] = ContentCache(self.engine, memory_budget.of_device(device), most)

    def model(self, name: str) -> "EstimatorBackend":
        """The built-in model `name`; raises BackendError if there is none, or none for this device."""
        kernel = name.removesuffix("_fp64")
        if kernel not in KERNELS:
            raise BackendError(
                f"Invalid argument: backend 'estimator' is for the built-in models ({', '.join(KERNELS)}), not for"
                f" '{name}'"
            )
        family = next(family for family in FAMILIES if kernel.startswith(family))
        try:
            if self.board is not None:
                self.board.check(family, double=kernel != name)
        except AccelError as error:
            raise BackendError(f"Internal: {error}") from error
        return EstimatorBackend(self, kernel, family)

    def take(self, bitstream: "Built") -> None:
        """Has the family that a bitstream is of run on it from now on."""
        family = bitstream.tier.source.parent.name
        if family in FAMILIES and self.board is not None:
            self.board.take(family, bitstream.tier, bitstream.program)

    def region_closed(self, region: int) -> None:
        """Forgets what was read from a region."""
        self.kept.region_closed(region)


class EstimatorBackend:
    """See the file's head."""

    def __init__(self, shared: Estimators, kernel: str, family: str) -> None:
        self._shared = shared
        self._kernel = KERNELS[kernel]
        self._family = family

    @property
    def program(self) -> str:
        """See OnBoard."""
        return "" if self._shared.board is None else self._family

    def activate(self) -> None:
        """See OnBoard."""
        if self._shared.board is not None:
            self._shared.board.activate(self._family)

    def begin(self, requests: Sequence[BatchRequest], lap: Callable[[], None]) -> Begun[list[Outcome]]:
        """See Backend."""
        prepared: list[_Prepared | RequestError] = []
        room = _MOST_INLINE  # of all together: their answers travel in one frame
        for request in requests:
            one = _refusal_or(self._prepare, request)
            if isinstance(one, _Prepared) and one.inline > room:
                one = RequestError(StatusCode.UNAVAILABLE, "others' answers are large as well: ask again")
            room -= one.inline if isinstance(one, _Prepared) else 0
            prepared.append(one)
        lap()
        # All are begun before the first is waited for, so that the device has no pauses.
        begun = [one if isinstance(one, RequestError) else _refusal_or(self._begin, one) for one in prepared]

        def result() -> list[Outcome]:
            computed = [one if isinstance(one, RequestError) else _refusal_or(self._finish, one) for one in begun]
            lap()
            return [
                one if isinstance(one, RequestError) else _outputs(request, one)
                for request, one in zip(requests, computed, strict=True)
            ]

        return Begun(result, self._shared.engine.waiting())

    def _prepare(self, request: BatchRequest) -> _Prepared:
        rows = estimator_request.partition(request)
        sizes, computation = self._kernel(request, rows)
        inline = request.inline_bytes(sizes, _MOST_INLINE)
        content = estimator_request.content(request, rows)
        if content is None:
            data = self._shared.engine.load(rows, resident=False)
        else:
            data = self._shared.kept.load(rows, content)
        return _Prepared(rows, data, computation, inline)

    def _begin(self, prepared: _Prepared) -> _Answering:
        try:
            return _Answering(prepared, prepared.computation(self._shared.engine, prepared.data))
        except DeviceMemoryError:  # some drivers notice only now
            return _Answering(prepared, self._streamed(prepared))

    def _finish(self, begun: _Answering) -> Outputs:
        try:
            return begun.answer()
        except DeviceMemoryError:
            return self._streamed(begun.prepared)()

    def _streamed(self, prepared: _Prepared) -> Callable[[], Outputs]:
        """Begins again with data that does not stay; what is kept may be in the way."""
        engine = self._shared.engine
        self._shared.kept.clear()
        prepared.data = None
        prepared.data = engine.load(prepared.rows, resident=False)
        return prepared.computation(engine, prepared.data)


def _refusal_or(step: Callable[[Argument], Result], argument: Argument) -> Result | RequestError:
    """`step(argument)`, or the refusal that it ends with."""
    try:
        return step(argument)
    except RequestError as error:
        return error
    except DataError as error:
        return RequestError(StatusCode.INVALID_ARGUMENT, str(error))
    except OSError as error:  # of a region's file; the others of the batch have theirs
        return RequestError(StatusCode.INTERNAL, f"the partition can't be read: {error.strerror or error}")
    except MemoryError as error:  # DeviceMemoryError too
        return RequestError(StatusCode.RESOURCE_EXHAUSTED, str(error) or "out of memory; send fewer rows a request")


def _outputs(request: BatchRequest, found: Outputs) -> list[Output]:
    return [
        Output(
            name, _DATATYPES[values.dtype.name], (values.size,), np.ascontiguousarray(values).reshape(-1).data.cast("B")
        )
        for name, values in found.items()
        if request.wants(name)
    ]


def _engine(device: "cl.Device | None", tier: str) -> Engine[Any]:
    if device is None:
        from spark_accel.estimators.reference import ReferenceEngine  # noqa: PLC0415 - not needed beside OpenCL

        return ReferenceEngine()
    from spark_accel.daemon.fpga_estimators import engine  # noqa: PLC0415 - the reference needs no pyopencl

    return engine(device, tier)
