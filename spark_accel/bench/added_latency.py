"""What the daemon adds to a network: the round trip of one client's request over what the worker itself took for it.

Images lie in a region, as those of `predict` do. The worker's time is the daemon's own statistics, asked for between
requests.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from spark_accel import settings
from spark_accel.bench.daemon_end import end_daemon
from spark_accel.bench.network_inputs import NetworkInputs
from spark_accel.client import Client, Region
from spark_accel.network_facts import NetworkFacts

BATCHES = (1, 32)
_REQUESTS = 12  # at least, however long they take


@dataclass(frozen=True)
class Added:
    """Medians over `requests` of one size, in milliseconds; `added` is that of the differences."""

    batch: int
    requests: int
    round_trip: float
    worker: float
    added: float


def measure(inputs: NetworkInputs, given: dict[str, str], folder: Path, seconds: float) -> list[Added]:
    """One row a batch size, from a daemon of its own; `given` are settings, as variables."""
    sockets = folder / "socket"
    sockets.mkdir(mode=0o700)
    chosen = settings.override(
        settings.from_environment(given), daemon_socket=str(sockets / "d"), repository=str(inputs.plan.parents[1])
    )
    client = Client(chosen)
    try:
        with grpc.insecure_channel(chosen.daemon_address) as channel:
            asked = _Asked(client, client.network(inputs.plan.parent.name), channel)
            images = np.load(inputs.calibration)
            return [asked.added(np.take(images, np.arange(n) % len(images), axis=0), seconds) for n in BATCHES]
    finally:
        client.close()
        end_daemon(chosen)


def of_requests(batch: int, request: Callable[[], tuple[float, float]], seconds: float) -> Added:
    """Of requests of one size, one after the other; `request` makes one, and gives its round trip and the worker's own
    time, in milliseconds."""
    request()  # the first one of a size
    found: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found) < _REQUESTS:
        found.append(request())
    round_trips, workers = zip(*found, strict=True)
    return Added(batch, len(found), median(round_trips), median(workers), median(whole - own for whole, own in found))


class _Asked:
    """A network in a daemon."""

    def __init__(self, client: Client, network: NetworkFacts, channel: grpc.Channel) -> None:
        self._client = client
        self._network = network
        self._statistics = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        self._taken = 0.0  # by the worker so far, milliseconds

    def added(self, images: npt.NDArray[np.uint8], seconds: float) -> Added:
        """Of requests for these images, one after the other."""
        region = self._client.region(images.nbytes)
        region.array.reshape(images.shape)[:] = images
        added = of_requests(len(images), lambda: self._request(region, len(images)), seconds)
        region.close()
        return added

    def _request(self, region: Region, count: int) -> tuple[float, float]:
        start = time.perf_counter()
        self._client.classify(self._network, region, count, 5).result()
        round_trip = (time.perf_counter() - start) * 1e3
        before, self._taken = self._taken, self._worker_milliseconds()
        return round_trip, self._taken - before

    def _worker_milliseconds(self) -> float:
        """All that the worker has taken for the network's requests: to read them, to run, to write the answers."""
        (found,) = self._statistics.ModelStatistics(pb.ModelStatisticsRequest(name=self._network.name)).model_stats
        taken = found.inference_stats
        return float(taken.compute_input.ns + taken.compute_infer.ns + taken.compute_output.ns) / 1e6
