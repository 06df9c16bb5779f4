"""What the command line asks of a running daemon: facts for `status`, loading, unloading. It never starts a daemon."""

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from spark_accel import endpoint
from spark_accel.channel import Channel
from spark_accel.errors import DaemonError, ModelError
from spark_accel.protocol import accel_pb2, accel_pb2_grpc
from spark_accel.settings import Settings

_SECONDS = 30.0


def collect(settings: Settings) -> dict[str, Any]:
    """The facts under `daemon`, `devices`, `models`, `leases`, `regions`; `failure` is why there are no devices, or the
    reference alone.

    Raises DaemonError if no daemon answers.
    """
    with _channel(settings) as channel:
        return _collect(settings, service_pb2_grpc.GRPCInferenceServiceStub(channel), channel)


def load(settings: Settings, name: str) -> list[int]:
    """Has the running daemon load a model, however long that takes; gives the versions that are ready then.

    Raises DaemonError if none answers, ModelError with the daemon's words if it can't.
    """
    _check_text(name)
    with _channel(settings) as channel:
        triton = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            triton.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=name))
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:  # it has gone
                raise
            names = sorted({one.name for one in _index(triton)})
            if name in names:
                raise ModelError(f"the daemon did not load '{name}': {error.details()}") from error
            raise ModelError(
                f"model '{name}' is not in the daemon's repository, which has {', '.join(names) or 'no models'};"
                " `spark-accel model import` puts a network there, `model install` a kernel, `kernels build` an FPGA's"
                " bitstream"
            ) from error
        return sorted(int(one.version) for one in _index(triton) if one.name == name and one.state == "READY")


def unload(settings: Settings, name: str) -> bool:
    """Has the running daemon unload a model; False if it was not loaded.

    Raises DaemonError if none answers, ModelError with the daemon's words if it can't.
    """
    _check_text(name)
    with _channel(settings) as channel:
        triton = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            # One whose folder is gone is not in the index.
            loaded = triton.ModelReady(pb.ModelReadyRequest(name=name), timeout=_SECONDS).ready or any(
                one.name == name and one.state == "LOADING" for one in _index(triton)
            )
            triton.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=name), timeout=_SECONDS)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:  # it has gone
                raise
            raise ModelError(f"the daemon did not unload '{name}': {error.details()}") from error
        return bool(loaded)


def _check_text(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ModelError(f"no model is called {name!a}: that is not UTF-8") from None


@contextlib.contextmanager
def _channel(settings: Settings) -> Iterator[Channel]:
    """A channel to the daemon; raises DaemonError if none answers, also for a call that fails in the context, and
    ConfigurationError if its folder is not this user's alone."""
    path = settings.daemon_socket
    endpoint.check(path)
    if not endpoint.answers(path):
        raise DaemonError(f"no daemon answers at {path}; start it with 'spark-accel daemon --background'")
    try:
        with contextlib.closing(Channel(path)) as channel:
            yield channel
    except grpc.RpcError as error:
        raise DaemonError(f"the daemon at {path} did not answer: {error.details()}") from error


def _index(triton: Any) -> list[Any]:  # noqa: ANN401 - generated
    return list(triton.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=_SECONDS).models)


def _collect(settings: Settings, triton: Any, channel: Channel) -> dict[str, Any]:  # noqa: ANN401 - generated
    node = accel_pb2_grpc.NodeStub(channel)
    metadata = triton.ServerMetadata(pb.ServerMetadataRequest(), timeout=_SECONDS)
    devices = node.Devices(accel_pb2.DevicesRequest(), timeout=_SECONDS)
    index = _index(triton)
    statistics = triton.ModelStatistics(pb.ModelStatisticsRequest(), timeout=_SECONDS).model_stats
    counts = {(model.name, model.version): model for model in statistics}
    leases = node.Leases(accel_pb2.LeasesRequest(), timeout=_SECONDS).leases
    regions = triton.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest(), timeout=_SECONDS).regions
    return {
        "daemon": {
            "version": metadata.version,
            "socket": str(settings.daemon_socket),
            "pid": endpoint.daemon_pid(settings.daemon_socket),
        },
        "devices": [_fields(device) for device in devices.devices],
        "failure": devices.failure,
        "models": [_model(model, counts.get((model.name, model.version))) for model in index],
        "leases": [
            {**_fields(lease), "since": datetime.fromtimestamp(lease.since).astimezone().isoformat()}
            for lease in leases
        ],
        "regions": [_fields(region) for _, region in sorted(regions.items())],
    }


def _fields(message: Any) -> dict[str, Any]:  # noqa: ANN401 - any flat message
    return {field.name: getattr(message, field.name) for field in message.DESCRIPTOR.fields}


def _model(model: pb.RepositoryIndexResponse.ModelIndex, counts: pb.ModelStatistics | None) -> dict[str, Any]:
    counts = counts or pb.ModelStatistics()
    success, fail, queue = counts.inference_stats.success, counts.inference_stats.fail, counts.inference_stats.queue
    infer = counts.inference_stats.compute_infer
    return {
        **_fields(model),
        "inferences": counts.inference_count,
        "executions": counts.execution_count,
        "requests": success.count,
        "failed": fail.count,
        "mean_queue_ms": round(queue.ns / queue.count / 1e6, 3) if queue.count else 0.0,
        "mean_compute_ms": round(infer.ns / infer.count / 1e6, 3) if infer.count else 0.0,
    }
