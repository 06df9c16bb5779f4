"""What a model runs on: the interface of backends, which one a configuration names, and `identity`.

A backend is made from a model's configuration, folder and device, and runs batches. It reads inputs where they lie; the
worker writes outputs where they are wanted. Networks are `network_backend.py`'s, estimators `estimator_backend.py`'s,
kernels of users `own_kernel_backend.py`'s.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from grpc import StatusCode

from spark_accel.daemon import byte_strings, grpc_messages
from spark_accel.daemon.batch_request import BatchRequest
from spark_accel.daemon.begun import Begun
from spark_accel.daemon.link import Buffer
from spark_accel.daemon.request import RequestError

if TYPE_CHECKING:
    import pyopencl as cl

    from spark_accel.daemon.bitstream_backend import BitstreamBackend, Built
    from spark_accel.daemon.estimator_backend import Estimators

_MAX_DELAY_MS = 600_000


class Output(NamedTuple):
    """An output of one request: `data` is its bytes."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Buffer


Outcome = list[Output] | RequestError


class Backend(Protocol):
    """A loaded model."""

    def begin(self, requests: Sequence[BatchRequest], lap: Callable[[], None]) -> Begun[list[Outcome]]:
        """Reads a batch's inputs and begins to compute; calls `lap` when the inputs are read, and when it is asked for
        the result and the computation is done.

        An outcome is the wanted outputs in the model's order, or why this one request has none; what raises fails all.
        """


@runtime_checkable
class OnBoard(Protocol):
    """A backend on a device that holds one program at a time, of which others may have another."""

    program: str

    def activate(self) -> None:
        """Gives the board this backend's program."""


@runtime_checkable
class Provides(Protocol):
    """A backend that is a board's program, on which others run."""

    built: "Built"


class BackendError(Exception):
    """A model can't run on its backend. The text is a ModelLoadError's: `Invalid argument: …`."""


class DamageError(Exception):
    """A kernel wrote where it may not: nothing in this process can be trusted any more. The text is for the client."""


class Backends:
    """The backends of a worker and what they share.

    The worker drives `device` (None: numpy) with the kernels of the setting `kernels`, `tier`.
    """

    def __init__(self, device: "cl.Device | None", tier: str) -> None:
        self._device = device
        self._tier = tier
        self._estimators: Estimators | None = None  # made with the first model that needs it
        self._bitstreams: list[BitstreamBackend] = []  # that are loaded; the latest of a family is the one that counts

    def load(self, name: str, folder: Path, config: Mapping[str, Any]) -> Backend:
        """The backend of model `name`, whose version is in `folder`; raises BackendError.

        `config` is the ModelConfig as `MessageToDict` gives it.
        """
        if config.get("backend") == "network":
            from spark_accel.daemon.network_backend import NetworkBackend  # noqa: PLC0415 - `identity` needs no numpy

            engine = next((one.built for one in reversed(self._bitstreams) if one.family == "network"), None)
            return NetworkBackend(folder, config, self._device, self._tier, engine)
        if config.get("backend") == "bitstream":
            from spark_accel.daemon.bitstream_backend import BitstreamBackend  # noqa: PLC0415 - as above

            loaded = BitstreamBackend(name, folder, self._device)
            self._bitstreams.append(loaded)
            if self._estimators is not None:
                self._estimators.take(loaded.built)
            return loaded
        if config.get("backend") == "estimator":
            from spark_accel.daemon.estimator_backend import Estimators  # noqa: PLC0415 - as above

            if self._estimators is None:
                self._estimators = Estimators(self._device, self._tier)
                for one in self._bitstreams:
                    self._estimators.take(one.built)
            return self._estimators.model(name)
        if config.get("backend") == "identity":
            return Identity(name, config)
        if config.get("backend") == "opencl":
            return self._own_kernel(name, folder, config)
        raise BackendError(
            f"Invalid argument: unable to find backend library for backend '{config.get('backend', '')}', try"
            " specifying runtime on the model configuration."
        )

    def unloaded(self, backend: Backend) -> None:
        """Forgets a backend that is no more; what runs on a bitstream keeps it until it is unloaded, too."""
        self._bitstreams = [one for one in self._bitstreams if one is not backend]

    def _own_kernel(self, name: str, folder: Path, config: Mapping[str, Any]) -> Backend:
        if self._device is None:
            raise BackendError(
                f"Invalid argument: model '{name}' is a kernel in OpenCL, and this daemon computes with numpy: set"
                " spark.accel.device to a device that `spark-accel devices` lists"
            )
        from spark_accel.daemon.own_kernel_backend import OwnKernelBackend  # noqa: PLC0415 - numpy needs no pyopencl

        return OwnKernelBackend(name, folder, config, self._device)

    def region_closed(self, region: int) -> None:
        """Forgets what was kept of a region that is gone; called by the thread that runs batches."""
        if self._estimators is not None:
            self._estimators.region_closed(region)


class Identity:
    """Output i is input i; the request parameter `delay_ms` sleeps. It shows what the protocol costs."""

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        self._name = name
        inputs = [tensor["name"] for tensor in config.get("input", ())]
        outputs = [tensor["name"] for tensor in config.get("output", ())]
        if len(inputs) != len(outputs):
            raise BackendError(
                f"Invalid argument: backend 'identity' needs as many outputs as inputs, model '{name}' has"
                f" {len(inputs)} inputs and {len(outputs)} outputs"
            )
        self._pairs = list(zip(inputs, outputs, strict=True))

    def begin(self, requests: Sequence[BatchRequest], lap: Callable[[], None]) -> Begun[list[Outcome]]:
        """See Backend."""
        outcomes: list[Outcome] = []
        room = grpc_messages.MAX_BYTES  # a batch has one answer
        for request in requests:
            try:
                room -= self._inline_bytes(request, room)
                outcomes.append(self._copy(request))
            except RequestError as error:
                outcomes.append(error)
        lap()

        def result() -> list[Outcome]:
            delay = max(_delay_ms(request) for request in requests)
            if delay:
                time.sleep(delay / 1000)
            lap()
            return outcomes

        return Begun(result)

    def _inline_bytes(self, request: BatchRequest, room: int) -> int:
        """See BatchRequest; raises RequestError, too, for more than the `room` that the requests before leave."""
        sizes = {name: request.inputs[source].nbytes for source, name in self._pairs if source in request.inputs}
        inline = request.inline_bytes(sizes, grpc_messages.MAX_BYTES)
        if inline > room:
            raise RequestError(
                StatusCode.UNAVAILABLE,
                f"the outputs of requests that ran together are too many for one answer ({inline:,} bytes, and"
                f" {grpc_messages.MAX_BYTES - room:,} of others): send the request again",
            )
        return inline

    def _copy(self, request: BatchRequest) -> list[Output]:
        """Raises RequestError."""
        outputs = []
        for source, name in self._pairs:
            if source not in request.inputs or not request.wants(name):
                continue  # an optional input that was left out, or an output that nobody wants
            tensor = request.inputs[source]
            data = tensor.read()
            if tensor.datatype == "BYTES" and not tensor.inline:
                byte_strings.check(bytes(data), tensor.elements, source, self._name, request.id)
            outputs.append(Output(name, tensor.datatype, tensor.shape, data))
        return outputs


def _delay_ms(request: BatchRequest) -> float:
    delay = request.parameters.get("delay_ms", 0)
    return min(max(float(delay), 0.0), _MAX_DELAY_MS) if isinstance(delay, int | float) else 0.0
