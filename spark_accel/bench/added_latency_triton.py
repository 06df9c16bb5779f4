"""What a Triton server adds to a model of its Python backend that works as long as a network did in our daemon.

The model does to the machine what a network does: all cores are busy with memory that no cache holds, so that server
and client are found as cold as ours. It answers the milliseconds that it took itself. Triton's own statistics are no
measure of that: they count the way to the model's process, which the server adds, as the model's time.
"""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton

from spark_accel.bench import identity_servers
from spark_accel.bench.added_latency import Added, of_requests

_MODEL = "busy"
_CODE = """
import itertools
import os
import threading
import time

import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, args):
        # For each core 48 MB, in blocks that are small enough to end in time.
        self.blocks = [
            itertools.cycle(np.array_split(np.ones(12_000_000, np.float32), 48)) for _ in os.sched_getaffinity(0)
        ]

    def execute(self, requests):
        start = time.perf_counter()
        (request,) = requests
        end = start + float(pb.get_input_tensor_by_name(request, "x").as_numpy()[0, 0]) / 1e3
        threads = [threading.Thread(target=work, args=(blocks, end)) for blocks in self.blocks[1:]]
        for thread in threads:
            thread.start()
        work(self.blocks[0], end)
        for thread in threads:
            thread.join()
        took = np.full((1, 1), (time.perf_counter() - start) * 1e3, np.float32)
        return [pb.InferenceResponse([pb.Tensor("y", took)])]


def work(blocks, end):
    while time.perf_counter() < end:
        block = next(blocks)
        np.add(block, 1, out=block)
"""


def measure(networks: Sequence[Added], folder: Path, seconds: float) -> list[Added]:
    """For each of `networks` one whose model works as long as that one's worker, asked by one client.

    Raises ConfigurationError where Triton is missing.
    """
    with (
        identity_servers.triton(folder, _MODEL, _CODE) as url,
        triton.InferenceServerClient(url) as client,
    ):
        return [of_requests(one.batch, partial(_request, client, one.worker), seconds) for one in networks]


def _request(client: triton.InferenceServerClient, milliseconds: float) -> tuple[float, float]:
    tensor = triton.InferInput("x", [1, 1], "FP32")
    tensor.set_data_from_numpy(np.full((1, 1), milliseconds, np.float32))
    start = time.perf_counter()
    answer = client.infer(_MODEL, [tensor])
    round_trip = (time.perf_counter() - start) * 1e3
    client.get_inference_statistics(_MODEL)  # as ours is asked between requests
    return round_trip, float(answer.as_numpy("y")[0, 0])
