"""One attachment to a running daemon: channel, lease, and the calls that a client makes, each of them once.

What failed because the daemon or a worker went away raises `Again`; sending it again is `client.py`'s. Everything else
raises one of the package's errors.
"""

import difflib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy.typing as npt
from grpc import StatusCode
from tritonclient.grpc import InferResult, service_pb2_grpc
from tritonclient.grpc import service_pb2 as pb

from spark_accel import launch
from spark_accel.channel import CallError
from spark_accel.channel_pool import ChannelPool
from spark_accel.errors import AccelError, ModelError, RegionMemoryError
from spark_accel.lease import Lease
from spark_accel.protocol import accel_pb2, accel_pb2_grpc
from spark_accel.settings import Settings

_log = logging.getLogger(__name__)

_LEASE_KEY = "spark-accel-lease"
_SECONDS = 60.0  # for calls that no model runs in
_ENDING = "Server exiting"  # Triton's words
_AGAIN = (StatusCode.UNAVAILABLE, StatusCode.CANCELLED)


class Again(Exception):  # noqa: N818 - no error yet
    """The daemon, its lease or a worker went away: the call is to be made again."""


class Ending(Again):
    """The daemon finishes what it has accepted and takes nothing new: the call is to be made to its successor."""


class Placed(NamedTuple):
    """A tensor that lies at byte `offset` of a region; one of no bytes lies nowhere."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    region: str
    offset: int
    size: int


def _overruled(settings: Settings, grant: accel_pb2.LeaseGrant) -> Iterator[str]:
    """What somebody has set and the daemon, which was started with something else, does not go by."""
    for key in ("device", "kernels", "repository"):
        own, served = str(getattr(settings, key)), getattr(grant, key)
        if key in settings.given and own != served:
            yield (
                f"spark.accel.{key}={own} has no effect: the daemon at {settings.daemon_socket} was started with"
                f" '{served}' and serves all; `spark-accel stop` ends it, or set another spark.accel.daemon.socket"
            )


class Connection:
    """Starts the daemon if none answers, and takes a lease. Raises Again, DaemonError, ConfigurationError.

    Where a daemon is about to end, waits for that first. `retired` is for whoever does not want to use it any more.
    `lost` is called, by a thread that must not wait, when the lease has ended.
    """

    def __init__(self, settings: Settings, lost: Callable[[], None]) -> None:
        launch.ensure(settings)
        self.retired = False
        self._lost = lost
        self._channels = ChannelPool(settings.daemon_socket)
        self._triton = service_pb2_grpc.GRPCInferenceServiceStub(self._channels)
        self._node = accel_pb2_grpc.NodeStub(self._channels)
        self._loaded: set[str] = set()
        try:
            with _translated():
                self._lease = Lease(settings.daemon_socket, f"python process {os.getpid()}", self._end)
        except Ending:
            launch.outlast(settings)
            raise
        self.grant = self._lease.grant
        self._headers = ((_LEASE_KEY, self.grant.lease),)
        for text in _overruled(settings, self.grant):
            _log.warning("%s", text)

    @property
    def alive(self) -> bool:
        """Whether the lease is held; it ends with the daemon."""
        return not self.retired and self._lease.held

    def close(self) -> None:
        """Gives the lease back."""
        self._lease.close()
        self._channels.close()

    def _end(self) -> None:
        self._channels.close()
        self._lost()

    def load(self, name: str) -> None:
        """Loads a model unless this connection has done so; raises ModelError if it can't be loaded."""
        if name in self._loaded:
            return
        with _translated():
            try:
                self._triton.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=name))
            except CallError as error:
                if error.code() in _AGAIN:
                    raise
                raise self._unloadable(name, error) from error
        self._loaded.add(name)

    def config(self, name: str) -> Any:  # noqa: ANN401 - a protobuf message without types
        """The configuration of a loaded model, `model_config_pb2.ModelConfig`."""
        with self._of_model(name):
            return self._triton.ModelConfig(pb.ModelConfigRequest(name=name), _SECONDS).config

    def version(self, name: str) -> int:
        """The version that requests get."""
        with self._of_model(name):
            found = self._triton.ModelMetadata(pb.ModelMetadataRequest(name=name), _SECONDS)
        return max(map(int, found.versions))

    def labels(self, name: str) -> accel_pb2.LabelsResponse:
        """The ids and labels of a loaded network's classes."""
        with self._of_model(name):
            found: accel_pb2.LabelsResponse = self._node.Labels(accel_pb2.LabelsRequest(model=name), _SECONDS)
        return found

    def devices(self) -> accel_pb2.DevicesResponse:
        """What the daemon drives, or why it drives nothing."""
        with _translated():
            found: accel_pb2.DevicesResponse = self._node.Devices(accel_pb2.DevicesRequest(), _SECONDS)
        return found

    def register(self, name: str, size: int) -> None:
        """Registers the region file `name` under its own name; raises RegionMemoryError if the daemon refuses."""
        request = pb.SystemSharedMemoryRegisterRequest(name=name, key=name, byte_size=size)
        with _translated():
            try:
                self._triton.SystemSharedMemoryRegister(request, _SECONDS, self._headers)
            except CallError as error:
                if error.code() == StatusCode.RESOURCE_EXHAUSTED:
                    raise RegionMemoryError(error.details()) from error
                raise

    def unregister(self, name: str) -> bool:
        """Has the daemon forget a region; False if a request still uses it."""
        request = pb.SystemSharedMemoryUnregisterRequest(name=name)
        try:
            self._triton.SystemSharedMemoryUnregister(request, _SECONDS, self._headers)
        except CallError as error:
            return bool(error.code() != StatusCode.INTERNAL)  # whatever else: daemon and region are gone
        return True

    def infer(
        self,
        model: str,
        inputs: Iterable[Placed],
        outputs: tuple[str, ...],
        parameters: Mapping[str, int | float | str],
        results: Sequence[Placed] = (),
    ) -> tuple[npt.NDArray[Any], ...]:
        """Runs a model; gives these of its outputs. Integers of the parameters are int64.

        `results` are outputs that are written to a region. Raises ModelError if they are of another shape or type.
        """
        request = pb.ModelInferRequest(model_name=model)
        for placed in inputs:
            tensor = request.inputs.add(name=placed.name, datatype=placed.datatype, shape=placed.shape)
            if not placed.size:
                request.raw_input_contents.append(b"")
                continue
            _place(tensor, placed)
        for name in outputs:
            request.outputs.add(name=name)
        for placed in results:
            output = request.outputs.add(name=placed.name)
            if placed.size:
                _place(output, placed)
        for name, value in parameters.items():
            if isinstance(value, str):
                request.parameters[name].string_param = value
            elif isinstance(value, int):
                request.parameters[name].int64_param = value
            else:
                request.parameters[name].double_param = value
        with self._of_model(model):
            answer = InferResult(self._triton.ModelInfer(request, metadata=self._headers))
        for placed in results:
            found = answer.get_output(placed.name)
            if (found.datatype, tuple(found.shape)) != (placed.datatype, placed.shape):
                raise ModelError(
                    f"output '{placed.name}' of model '{model}' is {found.datatype} {list(found.shape)}, expected"
                    f" {placed.datatype} {list(placed.shape)}: the model was replaced, call it again"
                )
        return tuple(answer.as_numpy(name) for name in outputs)

    @contextmanager
    def _of_model(self, name: str) -> Iterator[None]:
        """For calls that need a loaded model: one that is not loaded (any more) is loaded when the call is repeated."""
        with _translated():
            try:
                yield
            except CallError as error:
                code, message = error.code(), error.details()
                missing = code == StatusCode.NOT_FOUND and message.startswith("Request for unknown model")
                if missing or code in _AGAIN:
                    self._loaded.discard(name)
                if missing:
                    raise Again(message) from error
                raise

    def _unloadable(self, name: str, error: CallError) -> ModelError:
        index = self._triton.RepositoryIndex(pb.RepositoryIndexRequest(), _SECONDS)
        names = sorted({model.name for model in index.models})
        repository = self.grant.repository
        if name in names:
            return ModelError(f"model '{name}' in {repository} can't be loaded: {error.details()}")
        nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = ", ".join(f"'{one}'" for one in nearest or names[:5]) or "none"
        return ModelError(
            f"model '{name}' is not in the repository {repository}; {'nearest' if nearest else 'there are'}: {hint};"
            " 'spark-accel model import' puts a network there, 'model install' a kernel"
        )


def _place(tensor: Any, placed: Placed) -> None:  # noqa: ANN401 - an input or output of a ModelInferRequest
    tensor.parameters["shared_memory_region"].string_param = placed.region
    tensor.parameters["shared_memory_byte_size"].int64_param = placed.size
    tensor.parameters["shared_memory_offset"].int64_param = placed.offset


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except CallError as error:
        code, message = error.code(), error.details()
        if code in _AGAIN:
            raise (Ending if message == _ENDING else Again)(message) from error
        raise AccelError(f"the daemon refused a request: {message} ({code.name})") from error
