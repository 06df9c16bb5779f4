"""The daemon's server: its socket, its services, when it is idle, and its end.

The services are `inference_service.py` (KServe v2) and `node_service.py` (ours); health checks are answered here. How
they are spoken to is `grpc_server.py`'s.
"""

import asyncio
import time
from pathlib import Path

import grpc
from grpc import StatusCode
from tritonclient.grpc import service_pb2_grpc

from spark_accel.daemon.grpc_calls import Context, Method
from spark_accel.daemon.grpc_server import GrpcServer
from spark_accel.daemon.inference_service import InferenceService
from spark_accel.daemon.node_service import NodeService
from spark_accel.daemon.request import RequestError
from spark_accel.errors import DaemonError
from spark_accel.protocol import accel_pb2_grpc

# A lease lasts as long as its client: it is no work, and the idle time-out counts leases itself.
_LEASE = "/sparkaccel.Node/Lease"
_INFERENCE = "/inference.GRPCInferenceService/"
# What is answered, and how, while the daemon ends; all else is `Server exiting`, which clients take as a reason to
# come back: by then the next daemon answers them.
_WHILE_EXITING = {
    _INFERENCE + "ServerMetadata": "",
    _INFERENCE + "ModelReady": "Server not ready",
    _INFERENCE + "RepositoryIndex": "Server not ready",
}
_HEALTH = "grpc.health.v1.Health"
_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"  # HealthCheckResponse with field 1, an enum, set


class Server:
    """Serves on the Unix socket `socket`, in a folder that exists and is nobody else's."""

    def __init__(self, socket: Path, inference: InferenceService, node: NodeService) -> None:
        self._socket = socket
        self._inference = inference
        self._gate = _Gate()
        self._server = GrpcServer(self._gate, direct={_INFERENCE + "ModelInfer": inference.infer})
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(inference, self._server)
        accel_pb2_grpc.add_NodeServicer_to_server(node, self._server)
        check = grpc.unary_unary_rpc_method_handler(self._check_health)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_HEALTH, {"Check": check}),))

    async def start(self) -> None:
        """Opens the socket; raises DaemonError."""
        try:
            await self._server.start(self._socket)
        except OSError as error:
            raise DaemonError(
                f"no socket can be opened at {self._socket} ({error}): is its folder writable, and the path shorter"
                " than 108 bytes? (setting spark.accel.daemon.socket)"
            ) from None

    async def stop(self, grace: float) -> None:
        """Turns new requests away, waits up to `grace` seconds for those under way, and closes the socket."""
        self._gate.exiting = self._inference.exiting = True
        end = time.monotonic() + grace
        while (self._gate.under_way or self._inference.running) and time.monotonic() < end:
            await asyncio.sleep(0.01)
        await self._server.stop()

    def idle_seconds(self) -> float:
        """How long no call but leases has run; 0.0 while one does."""
        return 0.0 if self._gate.calls else time.monotonic() - self._gate.last_end

    async def _check_health(self, request: bytes, context: Context) -> bytes:  # noqa: ARG002
        return _NOT_SERVING if self._gate.exiting else _SERVING


class _Gate:
    """What every call passes: counts it, and turns it away at the daemon's end."""

    def __init__(self) -> None:
        self.exiting = False
        self.calls = 0  # that run, streams too, leases not
        self.under_way = 0  # of them, those that have one answer: what a shutdown waits for
        self.last_end = time.monotonic()

    def enter(self, method: Method) -> None:
        """See grpc_calls.Gate."""
        message = _WHILE_EXITING.get(method.path, "Server exiting")
        if self.exiting and message and not method.path.startswith(f"/{_HEALTH}/"):
            raise RequestError(StatusCode.UNAVAILABLE, message)
        self._count(method, 1)

    def leave(self, method: Method) -> None:
        """See grpc_calls.Gate."""
        self._count(method, -1)
        self.last_end = time.monotonic()

    def _count(self, method: Method, step: int) -> None:
        if method.streaming is None:
            self.under_way += step
        if method.path != _LEASE:
            self.calls += step
