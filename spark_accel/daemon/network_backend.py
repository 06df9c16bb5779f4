"""The backend `network`: a quantised network, images to logits, and to the best classes for the parameter `top`.

Softmax and ranking are numpy on all devices, so that equal logits give equal answers. The layers are `network.py`'s.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from grpc import StatusCode

from spark_accel.daemon import network_config
from spark_accel.daemon.backends import BackendError, Outcome, Output
from spark_accel.daemon.batch_request import BatchRequest
from spark_accel.daemon.begun import Begun
from spark_accel.daemon.network import Network
from spark_accel.daemon.network_config import IMAGE, INDEX, LOGITS, SCORE
from spark_accel.daemon.request import RequestError
from spark_accel.errors import AccelError, ModelError
from spark_accel.networks import plan

if TYPE_CHECKING:
    import pyopencl as cl

    from spark_accel.daemon.bitstream_backend import Built

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]


class NetworkBackend:
    """See the file's head."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        device: "cl.Device | None",
        tier: str,
        bitstream: "Built | None" = None,
    ) -> None:
        try:
            network = plan.load(folder)
            network_config.check(config, network)
            most = max(1, int(config.get("max_batch_size", 0)))
            self._network = _on_device(network, most, device, tier, bitstream)
        except ModelError as error:
            raise BackendError(f"Invalid argument: {error}") from error
        except AccelError as error:  # no kernels for the device, or no memory on it
            raise BackendError(f"Internal: {error}") from error
        self._classes = network.classes

    @property
    def program(self) -> str:
        """See OnBoard."""
        return self._network.program

    def activate(self) -> None:
        """See OnBoard."""
        self._network.activate()

    def begin(self, requests: Sequence[BatchRequest], lap: Callable[[], None]) -> Begun[list[Outcome]]:
        """See Backend."""
        view = self._network.input_view(sum(request.batch for request in requests))
        rows: list[slice | RequestError] = []
        filled = 0
        for request in requests:
            part = slice(filled, filled + request.batch)
            try:
                self._check(request)
                request.inputs[IMAGE].read_into(view[part].reshape(-1).data)
            except RequestError as error:
                rows.append(error)
            else:
                rows.append(part)
                filled = part.stop
        lap()

        def answered(logits: Float32) -> list[Outcome]:
            lap()
            return [
                part if isinstance(part, RequestError) else _outputs(request, logits[part])
                for request, part in zip(requests, rows, strict=True)
            ]

        if not filled:
            return Begun(lambda: answered(np.empty((0, self._classes), np.float32)))
        return self._network.begin_staged(filled).then(answered)

    def _check(self, request: BatchRequest) -> None:
        top = request.parameters.get("top")
        if top is None:
            for name in (INDEX, SCORE):
                if name in request.outputs:
                    raise _invalid(f"output '{name}' needs the request parameter 'top', the number of classes wanted")
        elif isinstance(top, bool) or not isinstance(top, int) or not 1 <= top <= self._classes:
            raise _invalid(f"request parameter 'top' is {top!r}, expected an integer from 1 to {self._classes}")


def top_classes(logits: Float32, top: int) -> tuple[Int32, Float32]:
    """The `top` classes of each row, best first, ties by lower index, and their softmax scores.

    logits: float32 [n, classes]; returns int32 and float32, [n, top].
    """
    index = np.argsort(-logits, axis=1, kind="stable")[:, :top]
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    scores = exponentials / exponentials.sum(axis=1, keepdims=True)
    return index.astype(np.int32), np.take_along_axis(scores, index, axis=1).astype(np.float32)


def _outputs(request: BatchRequest, logits: Float32) -> list[Output]:
    found: dict[str, tuple[str, npt.NDArray[Any]]] = {LOGITS: ("FP32", logits)}
    if "top" in request.parameters and (request.wants(INDEX) or request.wants(SCORE)):
        index, score = top_classes(logits, request.parameters["top"])
        found |= {INDEX: ("INT32", index), SCORE: ("FP32", score)}
    return [
        Output(name, datatype, values.shape, values.tobytes())
        for name, (datatype, values) in found.items()
        if request.wants(name)
    ]


def _on_device(
    network: plan.Plan, most: int, device: "cl.Device | None", tier: str, bitstream: "Built | None"
) -> Network:
    if device is None:
        from spark_accel.daemon.reference_network import ReferenceNetwork  # noqa: PLC0415 - not needed beside OpenCL

        return ReferenceNetwork(network, most)
    from spark_accel.daemon.opencl_network import OpenCLNetwork  # noqa: PLC0415 - the reference needs no pyopencl

    return OpenCLNetwork(network, device, most, tier, bitstream)


def _invalid(message: str) -> RequestError:
    return RequestError(StatusCode.INVALID_ARGUMENT, message)
