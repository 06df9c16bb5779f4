"""Queues and batches as clients see them, through a real daemon; the rules themselves are in test_queueing.py.

A request with `delay_ms` holds the device meanwhile. Requests can overtake each other on their way to the daemon: where
the order matters, each is sent when the daemon has the one before.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import grpc
import pytest
from conftest import eventually
from daemons import Daemon, arrived, region, region_file, running, write_model
from infer_requests import X4, placed, request, x, y
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

APART = 100  # milliseconds that a request holds the device: answers that come together may be seen in any order
NUMBERS = itertools.count()
TENSORS = """
    input { name: "x" data_type: TYPE_FP32 dims: -1 }
    output { name: "y" data_type: TYPE_FP32 dims: -1 }"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as daemon:
        yield daemon


class Model:
    """A model of its own for one test, which notes the order of answers."""

    def __init__(self, daemon: Daemon, name: str, config: str, files: ExitStack) -> None:
        self.name = name
        self.answered: list[str] = []
        self._daemon = daemon
        self._files = files
        write_model(daemon.repository, name, f'backend: "identity" {config} {TENSORS}')
        daemon.load(name)

    def send(self, id: str = "", batch: int = 1, columns: int = 4, **values: str | int) -> grpc.Future:
        """Sends a request and does not wait; `values` are its parameters."""
        message = request(x([batch, columns], b"abcd" * batch * columns), model=self.name, id=id, **values)
        return self._noted(self._daemon.stub.ModelInfer.future(message, timeout=60), id)

    def queue(self, id: str = "", batch: int = 1, limit: float = 60, **values: str | int) -> grpc.Future:
        """Sends a request that will run or wait for a while, and returns when the daemon has it."""
        file = self._files.enter_context(region_file(f"{self.name}-{next(NUMBERS)}", X4 * batch))
        tensor = x([batch, 4], None, **placed(file.name, 16 * batch))
        message = request(tensor, model=self.name, id=id, **values)
        call = arrived(self._daemon, file, lambda: self._daemon.stub.ModelInfer.future(message, timeout=limit))
        return self._noted(call, id)

    def _noted(self, call: grpc.Future, id: str) -> grpc.Future:
        call.add_done_callback(lambda _: self.answered.append(id))
        return call

    @property
    def statistics(self) -> pb.ModelStatistics:
        (found,) = self._daemon.call("ModelStatistics", name=self.name).model_stats
        return found

    @property
    def batches(self) -> dict[int, int]:
        """How often each batch size ran."""
        return {batch.batch_size: batch.compute_infer.count for batch in self.statistics.batch_stats}


Make = Callable[[str], Model]


@pytest.fixture
def make(daemon: Daemon, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes and loads a model with this configuration, named after the test."""
    with ExitStack() as files:
        yield lambda config: Model(daemon, f"{request.node.originalname}_{next(NUMBERS)}", config, files)
        daemon.call("SystemSharedMemoryUnregister")


def wait(*futures: grpc.Future) -> list[pb.ModelInferResponse]:
    return [future.result(timeout=60) for future in futures]


def refusal(future: grpc.Future) -> tuple[str, str]:
    error = future.exception(timeout=60)
    assert isinstance(error, grpc.RpcError), f"it was answered: {future.result()}"
    return error.code().name, error.details()


def test_without_dynamic_batching_requests_run_alone_and_in_order(make: Make) -> None:
    model = make("max_batch_size: 8")

    wait(model.queue("a", delay_ms=1500), model.queue("b", batch=2, delay_ms=APART), model.queue("c", delay_ms=APART))

    assert model.answered == ["a", "b", "c"]
    assert model.batches == {1: 2, 2: 1}


def test_what_waits_for_the_device_runs_as_one_batch(make: Make) -> None:
    model = make("max_batch_size: 8 dynamic_batching {}")

    wait(model.queue(delay_ms=2500), *(model.queue() for _ in range(5)))

    assert model.batches == {1: 1, 5: 1}


def test_a_full_batch_runs_before_the_delay_is_over(make: Make) -> None:
    model = make("max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 600000000 }")

    wait(*(model.send() for _ in range(8)))

    assert model.batches == {8: 1}


def test_a_lone_request_waits_for_the_delay(make: Make) -> None:
    model = make("max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 200000 }")

    wait(model.send())

    assert model.statistics.inference_stats.queue.ns >= 200_000_000


def test_requests_that_do_not_fit_a_batch_together_run_in_two(make: Make) -> None:
    model = make("max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 1500000 }")

    wait(*(model.send(batch=3) for _ in range(3)))

    assert model.batches == {6: 1, 3: 1}


def test_requests_of_different_shapes_are_not_merged(make: Make) -> None:
    model = make("max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 200000 }")

    answers = wait(*(model.send(columns=columns) for columns in (2, 3, 4)))

    assert [list(answer.outputs[0].shape) for answer in answers] == [[1, 2], [1, 3], [1, 4]]
    assert model.batches == {1: 3}


def test_requests_of_several_clients_inline_and_in_regions_are_merged(make: Make, daemon: Daemon) -> None:
    model = make("max_batch_size: 2 dynamic_batching { max_queue_delay_microseconds: 600000000 }")

    with (
        region(daemon, "merged", X4 + bytes(16)) as file,
        grpc.insecure_channel(daemon.url, options=[("grpc.use_local_subchannel_pool", 1)]) as channel,
    ):
        other = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        place = x([1, 4], None, **placed("merged", 16))
        message = request(place, model=model.name, outputs=[y(**placed("merged", 16, 16))])
        wait(other.ModelInfer.future(message, timeout=60), model.send())
        written = file.read_bytes()

    assert model.batches == {2: 1}
    assert written == X4 + X4


def test_a_full_queue_refuses_at_once(make: Make) -> None:
    model = make("max_batch_size: 1 dynamic_batching { default_queue_policy { max_queue_size: 2 } }")

    waiting = [model.queue(delay_ms=1500), model.queue(), model.queue()]
    refused = refusal(model.send("d"))

    assert refused == ("UNAVAILABLE", "[request id: d] Exceeds maximum queue size")
    assert not any(future.done() for future in waiting[1:])
    wait(*waiting)
    assert model.statistics.inference_stats.fail.count == 0


def test_a_request_whose_time_in_the_queue_runs_out_is_refused(make: Make) -> None:
    policy = "timeout_action: REJECT default_timeout_microseconds: 100000"
    model = make(f"max_batch_size: 1 dynamic_batching {{ default_queue_policy {{ {policy} }} }}")

    first, second = model.queue("a", delay_ms=1500), model.send("b")

    assert refusal(second) == ("UNAVAILABLE", "Request timeout expired")
    wait(first)
    assert model.answered == ["b", "a"]  # it need not wait for the batch that runs
    assert model.statistics.inference_stats.fail.count == 1


def test_a_request_may_shorten_its_time_in_the_queue(make: Make) -> None:
    policy = "default_timeout_microseconds: 60000000 allow_timeout_override: true"
    model = make(f"max_batch_size: 1 dynamic_batching {{ default_queue_policy {{ {policy} }} }}")

    first, second = model.queue(delay_ms=1500), model.send(timeout=50_000)

    assert refusal(second) == ("UNAVAILABLE", "Request timeout expired")
    wait(first)


def test_the_action_delay_lets_requests_in_time_overtake(make: Make) -> None:
    policy = "timeout_action: DELAY default_timeout_microseconds: 60000000 allow_timeout_override: true"
    model = make(f"max_batch_size: 1 dynamic_batching {{ default_queue_policy {{ {policy} }} }}")

    late = model.queue("first", delay_ms=2000), model.queue("late", timeout=10_000, delay_ms=APART)
    wait(*late, model.queue("timely"))

    assert model.answered == ["first", "timely", "late"]


def test_higher_priorities_run_first(make: Make) -> None:
    model = make("max_batch_size: 1 dynamic_batching { priority_levels: 3 default_priority_level: 2 }")

    sent = [model.queue("first", delay_ms=2000), model.queue("low", priority=3, delay_ms=APART)]
    sent += [model.queue("default", delay_ms=APART), model.queue("high", priority=1, delay_ms=APART)]
    wait(*sent)

    assert model.answered == ["first", "high", "default", "low"]


@pytest.mark.parametrize("config", ["max_batch_size: 1", "max_batch_size: 1 dynamic_batching {}"])
def test_a_cancelled_request_does_not_run(make: Make, config: str) -> None:
    model = make(config)

    running, cancelled, after = model.queue(delay_ms=1500), model.queue(), model.queue()
    cancelled.cancel()
    wait(running, after)

    eventually(lambda: model.statistics.inference_stats.fail.count == 1)
    assert model.statistics.inference_count == 2


def test_a_request_whose_deadline_passes_in_the_queue_does_not_run(make: Make) -> None:
    model = make("max_batch_size: 1 dynamic_batching {}")

    running, late = model.queue(delay_ms=3000), model.queue(limit=1)

    assert refusal(late)[0] == "DEADLINE_EXCEEDED"
    wait(running)
    eventually(lambda: model.statistics.inference_stats.fail.count == 1)
    assert model.statistics.inference_count == 1


def test_models_take_turns(make: Make) -> None:
    busy, other = make("max_batch_size: 1"), make("max_batch_size: 1")
    order = busy.answered = other.answered = []

    sent = [busy.queue(str(number), delay_ms=700) for number in range(4)]
    wait(*sent, other.send("other"))

    assert order.index("other") <= 2


def test_unloading_lets_accepted_requests_finish(make: Make, daemon: Daemon) -> None:
    model = make("max_batch_size: 1")

    accepted = [model.queue(delay_ms=1500), model.queue()]
    daemon.call("RepositoryModelUnload", model_name=model.name)
    refused = refusal(model.send())

    assert refused[0] == "NOT_FOUND"
    assert len(wait(*accepted)) == 2
    eventually(lambda: daemon.states(model.name) == {"1": "UNAVAILABLE"})


def test_a_failing_request_leaves_the_others_of_its_batch_alone(make: Make, daemon: Daemon) -> None:
    model = make("max_batch_size: 8 dynamic_batching {}")

    with region_file("cut", X4) as file:
        first = model.queue(delay_ms=2000)
        message = request(x([1, 4], None, **placed(file.name, 16)), model=model.name)
        bad, good = arrived(daemon, file, lambda: daemon.stub.ModelInfer.future(message, timeout=60)), model.queue()
        file.write_bytes(b"")
        code, text = refusal(bad)

    assert (code, text.split(":")[0]) == ("INVALID_ARGUMENT", "the shared memory of input 'x' was cut short")
    assert len(wait(first, good)) == 2
    assert model.batches == {1: 1, 2: 1}
