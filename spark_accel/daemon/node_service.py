"""sparkaccel.Node, what KServe v2 lacks: leases, facts about devices, the classes of a network."""
# ruff: noqa: N802, ARG002 - names and arguments are the protocol's

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Protocol

from spark_accel.daemon.grpc_calls import Context
from spark_accel.daemon.repository import Repository
from spark_accel.protocol import accel_pb2, accel_pb2_grpc


class Leases(Protocol):
    """The leases that clients hold."""

    def hold(self, client: str, disk: str = "") -> AsyncGenerator[accel_pb2.LeaseGrant, None]:
        """Grants a lease, which lasts until the generator is closed or cancelled; `disk` may hold regions, too."""

    def facts(self) -> Iterable[accel_pb2.LeaseFacts]:
        """The leases that are held."""


class NodeService(accel_pb2_grpc.NodeServicer):
    """The calls of sparkaccel.Node. `devices()` gives what the daemon drives now."""

    def __init__(
        self, leases: Leases, repository: Repository, devices: Callable[[], Awaitable[accel_pb2.DevicesResponse]]
    ) -> None:
        self._leases = leases
        self._repository = repository
        self._devices = devices

    async def Lease(self, request: accel_pb2.LeaseRequest, context: Context) -> AsyncIterator[accel_pb2.LeaseGrant]:
        """Holds a lease for as long as the client keeps the call open."""
        async with aclosing(self._leases.hold(request.client, request.disk_dir)) as grants:
            async for grant in grants:
                yield grant

    async def Devices(self, request: accel_pb2.DevicesRequest, context: Context) -> accel_pb2.DevicesResponse:
        """The devices and their workers, or why there are none."""
        return await self._devices()

    async def Leases(self, request: accel_pb2.LeasesRequest, context: Context) -> accel_pb2.LeasesResponse:
        """The leases that are held now."""
        return accel_pb2.LeasesResponse(leases=self._leases.facts())

    async def Labels(self, request: accel_pb2.LabelsRequest, context: Context) -> accel_pb2.LabelsResponse:
        """The label file of the model's first output that has one, a line `ID label` a class; empty without one.

        A line of one word is the label of a class without id: its index is its id.
        """
        model = self._repository.find(request.model, request.version)
        lines = next((model.labels[output.name] for output in model.config.output if output.name in model.labels), ())
        classes = [line.split(maxsplit=1) for line in lines]
        return accel_pb2.LabelsResponse(
            ids=[words[0] if len(words) > 1 else str(index) for index, words in enumerate(classes)],
            labels=[words[-1] if words else "" for words in classes],
        )
