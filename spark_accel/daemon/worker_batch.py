"""A batch in a worker, from its frame to its answer's: what a model makes of it, how long that took, what failed."""

import logging
import time
from collections.abc import Callable

from spark_accel.daemon.backends import Backend, DamageError, Outcome
from spark_accel.daemon.batch_request import BatchRequest
from spark_accel.daemon.begun import Begun
from spark_accel.daemon.link import Buffer, Header
from spark_accel.daemon.request import RequestError
from spark_accel.errors import AccelError

_log = logging.getLogger(__name__)


class Batch:
    """The batch of a frame for model `name`; it begins when this is made.

    `activate` has the board hold the model's program, and gives what the answer's header says of that; `decode` gives
    the requests.
    """

    def __init__(
        self,
        name: str,
        model: Backend,
        activate: Callable[[], Header],
        decode: Callable[[], list[BatchRequest]],
    ) -> None:
        self._name = name
        self._header: Header = {}
        self._requests: list[BatchRequest] = []
        self._begun: Begun[list[Outcome]] | None = None
        self._laps: list[int] = []
        try:
            self._header |= activate()  # what the board's reprogramming takes is none of the model's time
            self._lap()
            self._requests = decode()
            self._begun = model.begin(self._requests, self._lap)
        except Exception as error:  # whatever a backend raises is its clients' to know
            self._failed(error)

    @property
    def wait(self) -> Callable[[], None] | None:
        """See Begun."""
        return None if self._begun is None else self._begun.wait

    def answer(self, device_free: int) -> tuple[Header, list[Buffer]]:
        """Header and payload for the daemon; waits. The device was at work on other batches until `device_free`."""
        parts: list[Buffer] = []
        # What has begun knows this batch, through `_lap`, and holds its data: one must let go of the other.
        begun, self._begun = self._begun, None
        if begun is not None:
            try:
                outcomes = begun.result()
                requests = zip(self._requests, outcomes, strict=True)
                self._header["requests"] = [_deliver(request, outcome, parts) for request, outcome in requests]
            except Exception as error:
                self._failed(error)
                parts.clear()
        now = time.perf_counter_ns()
        began, read, computed, done = [*self._laps, *[now] * (4 - len(self._laps))]
        turn = min(max(read, device_free), computed)
        self._header["times"] = [read - began, computed - turn, done - computed]
        if turn > read:
            self._header["waited_ns"] = turn - read
        return self._header, parts

    def _lap(self) -> None:
        self._laps.append(time.perf_counter_ns())

    def _failed(self, error: Exception) -> None:
        if isinstance(error, DamageError):
            self._header["error"] = ("INTERNAL", str(error))
            self._header["damaged"] = True  # the daemon ends this process
            return
        if isinstance(error, AccelError):  # raised on purpose: its text says all
            _log.error("model '%s' failed: %s", self._name, error)
        else:
            _log.error("model '%s' failed", self._name, exc_info=error)
        text = f"Failed to process the request(s) for model '{self._name}', message: {type(error).__name__}: {error}"
        self._header["error"] = ("INTERNAL", text)


def _deliver(request: BatchRequest, outcome: Outcome, parts: list[Buffer]) -> Header:
    """Writes outputs to their regions, appends the others to `parts`, and describes them."""
    if isinstance(outcome, RequestError):
        return _error(outcome)
    outputs: list[object] = []
    inline: list[Buffer] = []
    try:
        for name, datatype, shape, data in outcome:
            place = request.outputs.get(name)
            if place is None:
                inline.append(data)
                outputs.append((name, datatype, shape, len(data)))
            else:
                place.write(data, name)
                outputs.append((name, datatype, shape, None))
    except RequestError as error:
        return _error(error)
    parts.extend(inline)
    return {"outputs": outputs}


def _error(error: RequestError) -> Header:
    return {"error": (error.code.name, error.message)}
