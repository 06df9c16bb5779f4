"""The backend `network`: a quantised network, images to logits, and to the best classes for the parameter `top`.

Softmax and ranking are numpy on all devices, so that equal logits give equal answers. The network itself runs on an
executor: OpenCL (`opencl_network.py`) or the numpy reference.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from grpc import StatusCode

from spark_accel.daemon import devices
from spark_accel.daemon.backends import BackendError, Outcome, Output
from spark_accel.daemon.batch_request import BatchRequest
from spark_accel.daemon.request import RequestError
from spark_accel.errors import ModelError
from spark_accel.networks import plan

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]

_IMAGE, _LOGITS, _INDEX, _SCORE = "image", "logits", "index", "score"


class Executor(Protocol):
    """A network on a device, with room for the images of a batch."""

    def input_view(self, count: int) -> UInt8:
        """Where the next batch's images go: uint8 [count, height, width, 3]."""

    def run_staged(self, count: int) -> Float32:
        """The logits, float32 [count, classes], of the first `count` images in the view."""


class ReferenceExecutor:
    """The network in numpy: the definition that the other tiers are held against, and what runs without OpenCL."""

    def __init__(self, network: plan.Plan, most: int) -> None:
        self._network = network
        self._images = np.empty((most, network.height, network.width, 3), np.uint8)

    def input_view(self, count: int) -> UInt8:
        """See Executor."""
        return self._images[:count]

    def run_staged(self, count: int) -> Float32:
        """See Executor."""
        from spark_accel.networks import reference  # noqa: PLC0415

        return reference.run(self._network, self._images[:count])


class Network:
    """See the file's head."""

    def __init__(self, folder: Path, config: Mapping[str, Any], device: str) -> None:
        try:
            network = plan.load(folder)
        except ModelError as error:
            raise BackendError(f"Invalid argument: {error}") from error
        _check_config(config, network)
        self._classes = network.classes
        self._executor = _executor(network, max(1, int(config.get("max_batch_size", 0))), device)

    def run(self, requests: Sequence[BatchRequest], lap: Callable[[], None]) -> list[Outcome]:
        """See Backend."""
        view = self._executor.input_view(sum(request.batch for request in requests))
        rows: list[slice | RequestError] = []
        filled = 0
        for request in requests:
            part = slice(filled, filled + request.batch)
            try:
                self._check(request)
                request.inputs[_IMAGE].read_into(view[part].reshape(-1).data)
            except RequestError as error:
                rows.append(error)
            else:
                rows.append(part)
                filled = part.stop
        lap()
        logits = self._executor.run_staged(filled) if filled else np.empty((0, self._classes), np.float32)
        lap()
        return [
            part if isinstance(part, RequestError) else _outputs(request, logits[part])
            for request, part in zip(requests, rows, strict=True)
        ]

    def _check(self, request: BatchRequest) -> None:
        top = request.parameters.get("top")
        if top is None:
            for name in (_INDEX, _SCORE):
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
    found: dict[str, tuple[str, npt.NDArray[Any]]] = {_LOGITS: ("FP32", logits)}
    if "top" in request.parameters and (request.wants(_INDEX) or request.wants(_SCORE)):
        index, score = top_classes(logits, request.parameters["top"])
        found |= {_INDEX: ("INT32", index), _SCORE: ("FP32", score)}
    return [
        Output(name, datatype, values.shape, values.tobytes())
        for name, (datatype, values) in found.items()
        if request.wants(name)
    ]


def _executor(network: plan.Plan, most: int, device: str) -> Executor:
    if device == devices.REFERENCE.id:
        return ReferenceExecutor(network, most)
    from spark_accel.daemon.opencl_network import OpenCLNetwork  # noqa: PLC0415 - the reference needs no pyopencl

    return OpenCLNetwork(network, devices.open_device(device), most)


def _check_config(config: Mapping[str, Any], network: plan.Plan) -> None:
    """The configuration promises clients shapes: they must be the network's."""
    expected = {_IMAGE: [network.height, network.width, 3], _LOGITS: [network.classes]}
    for tensor in (*config.get("input", ()), *config.get("output", ())):
        name, dims = tensor["name"], [int(side) for side in tensor.get("dims", ())]
        if dims != expected.pop(name, dims):
            shape = [network.height, network.width, 3] if name == _IMAGE else [network.classes]
            raise BackendError(f"Invalid argument: '{name}' has dims {dims} in config.pbtxt, its network has {shape}")
    if expected:
        names = " and ".join(f"'{name}'" for name in expected)
        raise BackendError(f"Invalid argument: config.pbtxt of a network lacks {names}")


def _invalid(message: str) -> RequestError:
    return RequestError(StatusCode.INVALID_ARGUMENT, message)
