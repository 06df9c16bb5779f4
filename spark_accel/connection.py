"""One attachment to a running daemon: channel, lease, and the calls that a client makes, each of them once.

What failed because the daemon or a worker went away raises `Again`; sending it again is `client.py`'s. Everything else
raises one of the package's errors.
"""

import difflib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc
import numpy.typing as npt
from tritonclient.grpc import InferenceServerClient, InferResult
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from spark_accel import launch
from spark_accel.errors import AccelError, ModelError, RegionMemoryError
from spark_accel.protocol import accel_pb2, accel_pb2_grpc
from spark_accel.settings import Settings
from spark_accel.unary_channel import UnaryChannel

_LEASE_KEY = "spark-accel-lease"
_MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
_SECONDS = 60.0  # for calls that no model runs in
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # a new connection must not wait for the back-off of one before it
    ("grpc.enable_retries", 0),  # a call that grpcio repeats when its connection is lost may wait without end
    ("grpc.keepalive_time_ms", 20_000),  # notices a daemon that hangs
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
)
_ENDING = "Server exiting"  # Triton's words
_AGAIN = ("StatusCode.UNAVAILABLE", "StatusCode.CANCELLED")


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


class Connection:
    """Starts the daemon if none answers, and takes a lease. Raises Again, DaemonError, ConfigurationError.

    Where a daemon is about to end, waits for that first. `retired` is for whoever does not want to use it any more.
    `lost` is called, by a thread that must not wait, when the lease has ended.
    """

    def __init__(self, settings: Settings, lost: Callable[[], None]) -> None:
        launch.ensure(settings)
        self.retired = False
        self._lost = lost
        self._socket = settings.daemon_socket
        self._own = threading.local()
        self._channels: list[UnaryChannel] = []  # of all threads
        self._lock = threading.Lock()
        self._loaded: set[str] = set()
        self._channel = grpc.insecure_channel(settings.daemon_address, options=_OPTIONS)
        self._triton = InferenceServerClient(settings.daemon_address, channel_args=list(_OPTIONS))
        self._node = accel_pb2_grpc.NodeStub(self._channel)
        self._lease_call = self._node.Lease(accel_pb2.LeaseRequest(client=f"python process {os.getpid()}"))
        # The call lasts as long as the lease and has no deadline: its first answer has one.
        deadline = threading.Timer(_SECONDS, self._lease_call.cancel)
        deadline.daemon = True
        deadline.start()
        try:
            with _translated():
                self.grant: accel_pb2.LeaseGrant = next(self._lease_call)
        except BaseException as error:
            self.close()
            if isinstance(error, Ending):
                launch.outlast(settings)
            raise
        finally:
            deadline.cancel()
        if not self._lease_call.add_callback(self._end):
            self._end()
        self._headers = {_LEASE_KEY: self.grant.lease}

    @property
    def alive(self) -> bool:
        """Whether the lease is held; it ends with the daemon."""
        return not self.retired and bool(self._lease_call.is_active())

    def close(self) -> None:
        """Gives the lease back."""
        self._lease_call.cancel()
        self._close_channels()
        self._channel.close()

    def _end(self) -> None:
        # over a connection that broke as it was made, grpcio may wait for an answer without end
        self._close_channels()
        self._lost()

    def _close_channels(self) -> None:
        self._triton.close()
        with self._lock:
            for channel in self._channels:
                channel.close()

    def load(self, name: str) -> None:
        """Loads a model unless this connection has done so; raises ModelError if it can't be loaded."""
        if name in self._loaded:
            return
        with _translated():
            try:
                self._triton.load_model(name)
            except InferenceServerException as error:
                if error.status() in _AGAIN:
                    raise
                raise self._unloadable(name, error) from error
        self._loaded.add(name)

    def config(self, name: str) -> Any:  # noqa: ANN401 - a protobuf message without types
        """The configuration of a loaded model, `model_config_pb2.ModelConfig`."""
        with self._of_model(name):
            return self._triton.get_model_config(name, client_timeout=_SECONDS).config

    def version(self, name: str) -> int:
        """The version that requests get."""
        with self._of_model(name):
            return max(map(int, self._triton.get_model_metadata(name, client_timeout=_SECONDS).versions))

    def labels(self, name: str) -> accel_pb2.LabelsResponse:
        """The ids and labels of a loaded network's classes."""
        with self._of_model(name):
            found: accel_pb2.LabelsResponse = self._node.Labels(accel_pb2.LabelsRequest(model=name), timeout=_SECONDS)
        return found

    def devices(self) -> accel_pb2.DevicesResponse:
        """What the daemon drives, or why it drives nothing."""
        with _translated():
            found: accel_pb2.DevicesResponse = self._node.Devices(accel_pb2.DevicesRequest(), timeout=_SECONDS)
        return found

    def register(self, name: str, size: int) -> None:
        """Registers the region file `name` under its own name; raises RegionMemoryError if the daemon refuses."""
        with _translated():
            try:
                self._triton.register_system_shared_memory(
                    name, name, size, headers=self._headers, client_timeout=_SECONDS
                )
            except InferenceServerException as error:
                if error.status() == "StatusCode.RESOURCE_EXHAUSTED":
                    raise RegionMemoryError(error.message()) from error
                raise

    def unregister(self, name: str) -> bool:
        """Has the daemon forget a region; False if a request still uses it."""
        try:
            self._triton.unregister_system_shared_memory(name, headers=self._headers, client_timeout=_SECONDS)
        except InferenceServerException as error:
            return str(error.status()) != "StatusCode.INTERNAL"  # whatever else: daemon and region are gone
        except ValueError:
            return True  # as `_translated`
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
            response = self._of_thread().call(_MODEL_INFER, request.SerializeToString(), self._headers)
        answer = InferResult(pb.ModelInferResponse.FromString(response))
        for placed in results:
            found = answer.get_output(placed.name)
            if (found.datatype, tuple(found.shape)) != (placed.datatype, placed.shape):
                raise ModelError(
                    f"output '{placed.name}' of model '{model}' is {found.datatype} {list(found.shape)}, expected"
                    f" {placed.datatype} {list(placed.shape)}: the model was replaced, call it again"
                )
        return tuple(answer.as_numpy(name) for name in outputs)

    def _of_thread(self) -> UnaryChannel:
        """The calling thread's own channel for requests."""
        channel: UnaryChannel | None = getattr(self._own, "channel", None)
        if channel is None or not channel.usable:
            channel = self._own.channel = UnaryChannel(self._socket)
            with self._lock:
                self._channels = [one for one in self._channels if one.usable] + [channel]
            if not self._lease_call.is_active():
                channel.close()  # `_end` may not have seen it
        return channel

    @contextmanager
    def _of_model(self, name: str) -> Iterator[None]:
        """For calls that need a loaded model: one that is not loaded (any more) is loaded when the call is repeated."""
        with _translated():
            try:
                yield
            except (InferenceServerException, grpc.RpcError) as error:
                code, message = _status(error)
                missing = code == "StatusCode.NOT_FOUND" and message.startswith("Request for unknown model")
                if missing or code in _AGAIN:
                    self._loaded.discard(name)
                if missing:
                    raise Again(message) from error
                raise

    def _unloadable(self, name: str, error: InferenceServerException) -> ModelError:
        index = self._triton.get_model_repository_index(client_timeout=_SECONDS)
        names = sorted({model.name for model in index.models})
        repository = self.grant.repository
        if name in names:
            return ModelError(f"model '{name}' in {repository} can't be loaded: {error.message()}")
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
    except (InferenceServerException, grpc.RpcError) as error:
        code, message = _status(error)
        if code in _AGAIN:
            raise (Ending if message == _ENDING else Again)(message) from error
        raise AccelError(f"the daemon refused a request: {message} ({code.removeprefix('StatusCode.')})") from error
    except ValueError as error:
        if "closed channel" not in str(error):
            raise
        raise Again("the daemon has gone") from error


def _status(error: InferenceServerException | grpc.RpcError) -> tuple[str, str]:
    if isinstance(error, InferenceServerException):
        return str(error.status()), str(error.message())
    return str(error.code()), str(error.details())
