"""The daemon's gRPC server: its socket, its limits, how errors become statuses, when it is idle, and its end.

The services are `inference_service.py` (KServe v2) and `node_service.py` (ours); health checks are answered here.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import grpc
from grpc import StatusCode
from tritonclient.grpc import service_pb2_grpc

from spark_accel.daemon.inference_service import InferenceService
from spark_accel.daemon.node_service import NodeService
from spark_accel.daemon.request import RequestError
from spark_accel.errors import DaemonError
from spark_accel.protocol import accel_pb2_grpc

_log = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 256 * 2**20  # bulk data belongs in regions
_MAX_MESSAGE_BYTES = 2048  # of a status: it travels in a header, percent-encoded, and clients take 8 KiB of those
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.http2.max_ping_strikes", 0),  # clients choose how often they ask whether we live
    ("grpc.so_reuseport", 0),
)
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

_UNPARSED = object()  # in the place of a request that can't be parsed


class Server:
    """Serves on the Unix socket `socket`, in a folder that exists and is nobody else's."""

    def __init__(self, socket: Path, inference: InferenceService, node: NodeService) -> None:
        self._socket = socket
        self._inference = inference
        self._gate = _Gate()
        self._server = grpc.aio.server(interceptors=[self._gate], options=_OPTIONS)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(inference, self._server)
        accel_pb2_grpc.add_NodeServicer_to_server(node, self._server)
        check = grpc.unary_unary_rpc_method_handler(self._check_health)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_HEALTH, {"Check": check}),))

    async def start(self) -> None:
        """Opens the socket; raises DaemonError."""
        try:
            self._server.add_insecure_port(f"unix:{self._socket}")
        except RuntimeError:
            raise DaemonError(
                f"no socket can be opened at {self._socket}: is its folder writable, and the path shorter than 108"
                " bytes? (setting spark.accel.daemon.socket)"
            ) from None
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Turns new requests away, waits up to `grace` seconds for those under way, and closes the socket."""
        self._gate.exiting = self._inference.exiting = True
        end = time.monotonic() + grace
        while (self._gate.under_way or self._inference.running) and time.monotonic() < end:
            await asyncio.sleep(0.01)
        await self._server.stop(0)

    def idle_seconds(self) -> float:
        """How long no call but leases has run; 0.0 while one does."""
        return 0.0 if self._gate.calls else time.monotonic() - self._gate.last_end

    async def _check_health(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:  # noqa: ARG002
        return _NOT_SERVING if self._gate.exiting else _SERVING


class _Gate(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """What every call passes: counts it, turns it away at the daemon's end, makes a status of what it raises."""

    def __init__(self) -> None:
        self.exiting = False
        self.calls = 0  # that run, streams too, leases not
        self.under_way = 0  # of them, those that have one answer: what a shutdown waits for
        self.last_end = time.monotonic()
        self._wrapped: dict[str, grpc.RpcMethodHandler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Called by gRPC for each call: gives what runs it; None is UNIMPLEMENTED."""
        method = handler_call_details.method
        if method not in self._wrapped:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            self._wrapped[method] = self._wrap(method, handler)
        return self._wrapped[method]

    def _wrap(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        coders = (_parser(handler.request_deserializer), handler.response_serializer)
        if handler.response_streaming:
            if handler.request_streaming:
                return grpc.stream_stream_rpc_method_handler(self._streaming(method, handler.stream_stream), *coders)
            return grpc.unary_stream_rpc_method_handler(self._streaming(method, handler.unary_stream), *coders)
        return grpc.unary_unary_rpc_method_handler(self._unary(method, handler.unary_unary), *coders)

    def _unary(self, method: str, behavior: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def call(request: object, context: grpc.aio.ServicerContext) -> object:
            await self._admit(method, context)
            self.calls += 1
            self.under_way += 1
            try:
                return await behavior(_parsed(request), context)
            except RequestError as error:
                return await context.abort(error.code, _short(error.message))
            except Exception as error:
                return await _abort_unforeseen(method, error, context)
            finally:
                self.calls -= 1
                self.under_way -= 1
                self.last_end = time.monotonic()

        return call

    def _streaming(
        self, method: str, behavior: Callable[..., AsyncGenerator[object, None]]
    ) -> Callable[..., AsyncGenerator[object, None]]:
        counted = int(method != _LEASE)

        async def call(request: object, context: grpc.aio.ServicerContext) -> AsyncGenerator[object, None]:
            await self._admit(method, context)
            self.calls += counted
            try:
                parsed = _each_parsed(request) if isinstance(request, AsyncIterable) else _parsed(request)
                async with aclosing(behavior(parsed, context)) as responses:
                    async for response in responses:
                        yield response
            except RequestError as error:
                await context.abort(error.code, _short(error.message))
            except Exception as error:
                await _abort_unforeseen(method, error, context)
            finally:
                self.calls -= counted
                self.last_end = time.monotonic()

        return call

    async def _admit(self, method: str, context: grpc.aio.ServicerContext) -> None:
        message = _WHILE_EXITING.get(method, "Server exiting")
        if self.exiting and message and not method.startswith(f"/{_HEALTH}/"):
            await context.abort(StatusCode.UNAVAILABLE, message)


async def _abort_unforeseen(method: str, error: Exception, context: grpc.aio.ServicerContext) -> object:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    _log.error("%s failed", method, exc_info=error)
    return await context.abort(StatusCode.INTERNAL, "internal error; the daemon's log has it")


def _parser(deserializer: Callable[[bytes], object] | None) -> Callable[[bytes], object] | None:
    if deserializer is None:
        return None

    def parse(data: bytes) -> object:
        try:
            return deserializer(data)
        except Exception:  # whatever the parser raises for bytes that are no request
            return _UNPARSED

    return parse


def _parsed(request: object) -> object:
    if request is _UNPARSED:
        raise RequestError(StatusCode.INTERNAL, "Unable to parse request")
    return request


async def _each_parsed(requests: AsyncIterable[object]) -> AsyncIterator[object]:
    async for request in requests:
        yield _parsed(request)


def _short(message: str) -> str:
    data = message.encode(errors="replace")
    return message if len(data) <= _MAX_MESSAGE_BYTES else data[:_MAX_MESSAGE_BYTES].decode(errors="ignore") + "..."
