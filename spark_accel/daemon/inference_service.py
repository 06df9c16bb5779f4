"""inference.GRPCInferenceService: each call is handed to the part that knows its answer; nothing is decided here.

RequestErrors become the call's status in `grpc_calls.py`.
"""
# ruff: noqa: N802, ARG002 - names and arguments are the protocol's

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Protocol

from grpc import StatusCode
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from spark_accel import __version__
from spark_accel.daemon import classification, server_settings, streams, validation
from spark_accel.daemon.grpc_calls import Context, Reply
from spark_accel.daemon.model_config import LoadedModel
from spark_accel.daemon.regions import Regions
from spark_accel.daemon.repository import Repository
from spark_accel.daemon.request import InferenceRequest, InferenceResult, OutputTensor, RequestError

NAME = "spark-accel"
EXTENSIONS = (
    "classification",
    "model_repository",
    "schedule_policy",
    "model_configuration",
    "system_shared_memory",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "logging",
)
LEASE_KEY = "spark-accel-lease"


class Inferer(Protocol):
    """What runs requests: the scheduler."""

    def submit(
        self, request: InferenceRequest, done: Callable[[InferenceResult | RequestError], None]
    ) -> Callable[[], None]:
        """Runs a request and tells `done` its outcome; raises RequestError.

        What it returns drops a request that has not begun to run, and of which `done` is told nothing then.
        """

    async def infer(self, request: InferenceRequest) -> InferenceResult:
        """Raises RequestError. Cancelled, it drops a request that has not begun to run."""


class Leases(Protocol):
    """Who knows the leases that clients hold."""

    def known(self, lease: str) -> bool:
        """Whether the lease is held."""


class InferenceService(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """The calls of KServe v2 with Triton's extensions. ModelInfer, of which there are many, is `infer`."""

    def __init__(self, scheduler: Inferer, regions: Regions, repository: Repository, leases: Leases) -> None:
        self._scheduler = scheduler
        self._regions = regions
        self._repository = repository
        self._leases = leases
        self._log_settings = server_settings.LogSettings()
        self.exiting = False  # set: new requests of open streams are turned away
        self.running = 0  # requests of streams that have no answer yet

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        """Always: a daemon that answers lives."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        """See `Repository.ready`."""
        return pb.ServerReadyResponse(ready=self._repository.ready)

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Context) -> pb.ServerMetadataResponse:
        """Name, version, and the extensions that work."""
        return pb.ServerMetadataResponse(name=NAME, version=__version__, extensions=EXTENSIONS)

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        """See `Repository.is_ready`."""
        return pb.ModelReadyResponse(ready=self._repository.is_ready(request.name, request.version))

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        """See `Repository.metadata`."""
        return self._repository.metadata(request.name, request.version)

    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:
        """The model's configuration with defaults filled in."""
        return pb.ModelConfigResponse(config=self._repository.find(request.name, request.version).config)

    async def ModelStatistics(self, request: pb.ModelStatisticsRequest, context: Context) -> pb.ModelStatisticsResponse:
        """See `Repository.statistics`."""
        return self._repository.statistics(request.name, request.version)

    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: Context) -> pb.RepositoryIndexResponse:
        """See `Repository.index`."""
        _check_repository(request.repository_name)
        return self._repository.index(request.ready)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        """See `Repository.load`."""
        _check_repository(request.repository_name)
        await self._repository.load(request.model_name, request.parameters)
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        """See `Repository.unload`."""
        _check_repository(request.repository_name)
        await self._repository.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()

    async def SystemSharedMemoryStatus(
        self, request: pb.SystemSharedMemoryStatusRequest, context: Context
    ) -> pb.SystemSharedMemoryStatusResponse:
        """See `Regions.status`."""
        return self._regions.status(request.name)

    async def SystemSharedMemoryRegister(
        self, request: pb.SystemSharedMemoryRegisterRequest, context: Context
    ) -> pb.SystemSharedMemoryRegisterResponse:
        """See `Regions.register`; the region belongs to the lease that the call's metadata name."""
        self._regions.register(request.name, request.key, request.offset, request.byte_size, self._lease(context))
        return pb.SystemSharedMemoryRegisterResponse()

    async def SystemSharedMemoryUnregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, context: Context
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        """See `Regions.unregister`."""
        self._regions.unregister(request.name, context.metadata(LEASE_KEY))
        return pb.SystemSharedMemoryUnregisterResponse()

    async def CudaSharedMemoryStatus(
        self, request: pb.CudaSharedMemoryStatusRequest, context: Context
    ) -> pb.CudaSharedMemoryStatusResponse:
        """No CUDA region ever is registered."""
        return pb.CudaSharedMemoryStatusResponse()

    async def CudaSharedMemoryRegister(
        self, request: pb.CudaSharedMemoryRegisterRequest, context: Context
    ) -> pb.CudaSharedMemoryRegisterResponse:
        """Refused as by a Triton without GPU."""
        raise RequestError(StatusCode.INVALID_ARGUMENT, "failed to register shared memory region: invalid args")

    async def CudaSharedMemoryUnregister(
        self, request: pb.CudaSharedMemoryUnregisterRequest, context: Context
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        """Nothing to do."""
        return pb.CudaSharedMemoryUnregisterResponse()

    async def TraceSetting(self, request: pb.TraceSettingRequest, context: Context) -> pb.TraceSettingResponse:
        """See `server_settings.py`."""
        if request.model_name and not self._repository.is_ready(request.model_name, ""):
            text = f"Request for unknown model : {request.model_name}"
            raise RequestError(StatusCode.INVALID_ARGUMENT, text)
        return server_settings.trace_settings(request)

    async def LogSettings(self, request: pb.LogSettingsRequest, context: Context) -> pb.LogSettingsResponse:
        """See `server_settings.py`."""
        return self._log_settings.update(request)

    def infer(self, request: pb.ModelInferRequest, context: Context, reply: Reply) -> Callable[[], None]:
        """ModelInfer, see `grpc_calls.Direct`: checks the request, runs it, answers."""
        model, checked = self._checked(request, self._lease(context))

        def done(outcome: InferenceResult | RequestError) -> None:
            reply(lambda: _response(checked, model, outcome))

        return self._scheduler.submit(checked, done)

    async def ModelStreamInfer(
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """See `streams.py`."""
        lease = self._lease(context)
        answers = streams.answer(request_iterator, lambda request: self._infer(request, lease))
        async with aclosing(answers) as responses:
            async for response in responses:
                yield response

    async def _infer(self, request: pb.ModelInferRequest, lease: str) -> pb.ModelInferResponse:
        if self.exiting:
            raise RequestError(StatusCode.UNAVAILABLE, "Server exiting")
        self.running += 1
        try:
            model, checked = self._checked(request, lease)
            return _response(checked, model, await self._scheduler.infer(checked))
        finally:
            self.running -= 1

    def _checked(self, request: pb.ModelInferRequest, lease: str) -> tuple[LoadedModel, InferenceRequest]:
        model = self._repository.find(request.model_name, request.model_version)
        return model, validation.validate(request, model, self._regions, lease)

    def _lease(self, context: Context) -> str:
        lease = context.metadata(LEASE_KEY)
        if lease and not self._leases.known(lease):
            raise RequestError(StatusCode.UNAVAILABLE, f"lease '{lease}' is not held; take a new one")
        return lease


def _response(
    request: InferenceRequest, model: LoadedModel, outcome: InferenceResult | RequestError
) -> pb.ModelInferResponse:
    if isinstance(outcome, RequestError):
        raise outcome
    counts = {output.name: output.classification for output in request.outputs}
    response = pb.ModelInferResponse(model_name=model.name, model_version=str(model.version), id=request.id)
    for output in outcome.outputs:
        answered = _classified(output, counts.get(output.name, 0), model)
        response.outputs.add(name=answered.name, datatype=answered.datatype, shape=answered.shape)
        response.raw_output_contents.append(answered.data or b"")  # empty in the place of one that is in a region
    return response


def _classified(output: OutputTensor, count: int, model: LoadedModel) -> OutputTensor:
    if not count:
        return output
    return classification.classify(output, count, model.labels.get(output.name, ()), model.batches)


def _check_repository(name: str) -> None:
    if name:
        raise RequestError(StatusCode.UNIMPLEMENTED, "'repository_name' specification is not supported")
