"""Counts and times of the models, as ModelStatistics answers them: `inference_stats` and `batch_stats`.

The scheduler reports what happened (`executed`, `failed`); the repository starts a model's counts at 0 (`reset`). Times
are nanoseconds. What a refused request costs is nobody's: it is not counted, as in Triton.
"""

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from tritonclient.grpc import service_pb2 as pb


class Execution(NamedTuple):
    """One execution of a batch: `batch` rows of `len(queue_ns)` requests, each of which waited so long."""

    batch: int
    queue_ns: tuple[int, ...]
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int
    failed: bool = False  # the model failed as a whole: none of the requests has a result

    @property
    def compute_ns(self) -> int:
        """What each of the requests counts as its compute time: that of the whole batch."""
        return self.compute_input_ns + self.compute_infer_ns + self.compute_output_ns


@dataclass
class _Duration:
    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        self.count += count
        self.ns += ns

    def message(self) -> pb.StatisticDuration:
        return pb.StatisticDuration(count=self.count, ns=self.ns)


@dataclass
class _Compute:
    """The three parts of a computation: for all requests of a model, or for all executions of one batch size."""

    input: _Duration = field(default_factory=_Duration)
    infer: _Duration = field(default_factory=_Duration)
    output: _Duration = field(default_factory=_Duration)

    def add(self, execution: Execution, count: int) -> None:
        self.input.add(execution.compute_input_ns * count, count)
        self.infer.add(execution.compute_infer_ns * count, count)
        self.output.add(execution.compute_output_ns * count, count)

    def messages(self) -> dict[str, pb.StatisticDuration]:
        return {f"compute_{part}": getattr(self, part).message() for part in ("input", "infer", "output")}


@dataclass
class _Counts:
    last_inference_ms: int = 0
    inferences: int = 0
    executions: int = 0
    success: _Duration = field(default_factory=_Duration)
    fail: _Duration = field(default_factory=_Duration)
    queue: _Duration = field(default_factory=_Duration)
    compute: _Compute = field(default_factory=_Compute)
    batches: defaultdict[int, _Compute] = field(default_factory=lambda: defaultdict(_Compute))


class Statistics:
    """The counts of all models, by name and version."""

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[str, int], _Counts] = defaultdict(_Counts)

    def executed(self, model: str, version: int, execution: Execution) -> None:
        """Counts a batch that the model has run, with success or (`execution.failed`) without."""
        counts = self._counts[model, version]
        requests = len(execution.queue_ns)
        waited = sum(execution.queue_ns)
        counts.executions += 1
        counts.batches[execution.batch].add(execution, 1)
        if execution.failed:
            counts.fail.add(waited + execution.compute_ns * requests, requests)
            return
        counts.last_inference_ms = time.time_ns() // 1_000_000
        counts.inferences += execution.batch
        counts.success.add(waited + execution.compute_ns * requests, requests)
        counts.queue.add(waited, requests)
        counts.compute.add(execution, requests)

    def failed(self, model: str, version: int, elapsed_ns: int) -> None:
        """Counts a request that was accepted and never run: its time in the queue ran out, it was cancelled there, or
        its worker ended. A request that the full queue turned away is not counted.
        """
        self._counts[model, version].fail.add(elapsed_ns)

    def reset(self, model: str, version: int) -> None:
        """Starts a newly loaded model at 0."""
        self._counts.pop((model, version), None)

    def response(self, models: Iterable[tuple[str, int]]) -> pb.ModelStatisticsResponse:
        """The answer of ModelStatistics for these models, (name, version) each."""
        return pb.ModelStatisticsResponse(model_stats=[self._message(*model) for model in models])

    def _message(self, model: str, version: int) -> pb.ModelStatistics:
        counts = self._counts.get((model, version)) or _Counts()
        return pb.ModelStatistics(
            name=model,
            version=str(version),
            last_inference=counts.last_inference_ms,
            inference_count=counts.inferences,
            execution_count=counts.executions,
            inference_stats=pb.InferStatistics(
                success=counts.success.message(),
                fail=counts.fail.message(),
                queue=counts.queue.message(),
                **counts.compute.messages(),
            ),
            batch_stats=[
                pb.InferBatchStatistics(batch_size=size, **batch.messages())
                for size, batch in sorted(counts.batches.items())
            ],
        )
