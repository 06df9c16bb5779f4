"""Kernels of users behind a real daemon on the host's processor: what it answers, refuses and survives."""

import contextlib
import re
from collections.abc import Iterator

import numpy as np
import pyopencl as cl
import pytest
from conftest import eventually
from daemons import Daemon, region, running
from hypothesis import given
from hypothesis import strategies as st
from infer_requests import placed, request, tensor, y
from kernel_models import (
    BEFORE,
    BEHIND,
    CRASH,
    ENDLESS,
    TWICE,
    Array,
    black_scholes,
    install_examples,
    options,
    source,
    write_kernel,
)
from nodes import gone
from tritonclient.grpc import InferenceServerClient, InferInput, InferResult

from spark_accel.daemon.devices import open_device
from spark_accel.protocol import accel_pb2, accel_pb2_grpc

RATE = 0.03


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon on the processor, with the examples and the kernel `twice`."""
    folder = tmp_path_factory.mktemp("node")
    install_examples(folder / "repository")
    write_kernel(folder / "repository", "twice", TWICE)
    with running(folder, device="cpu") as made:
        made.load("twice", "vector_add", "black_scholes")
        yield made


def vector(values: Array, name: str = "x") -> object:
    return tensor(name, values.shape, values.tobytes())


def ask(daemon: Daemon, model: str, *inputs: object, **values: object) -> dict[str, Array]:
    """The outputs of a request by name."""
    answer = daemon.infer(request(*inputs, model=model, **values))
    return {output.name: InferResult(answer).as_numpy(output.name) for output in answer.outputs}


def refusal(daemon: Daemon, model: str, *inputs: object, **values: object) -> tuple[str, str]:
    return daemon.infer_refused(request(*inputs, model=model, **values))


def worker(daemon: Daemon) -> accel_pb2.Device:
    (device,) = accel_pb2_grpc.NodeStub(daemon.channel).Devices(accel_pb2.DevicesRequest(), timeout=30).devices
    return device


@contextlib.contextmanager
def worker_is_replaced(daemon: Daemon) -> Iterator[None]:
    """What is done in here ends the worker, and another kernel answers afterwards."""
    before = worker(daemon)
    yield
    eventually(lambda: gone(before.worker_pid), what=f"worker {before.worker_pid} ends")
    assert ask(daemon, "twice", vector(np.ones(3, np.float32)))["y"].tolist() == [2, 2, 2]
    assert worker(daemon).restarts == before.restarts + 1


def test_vector_addition_is_numpys(daemon: Daemon) -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 100_001)).astype(np.float32)

    answer = ask(daemon, "vector_add", vector(a, "a"), vector(b, "b"))

    assert np.array_equal(answer["sum"], a + b)


def test_black_scholes_is_its_definition_in_numpy(daemon: Daemon) -> None:
    columns = options(10_000)

    answer = ask(daemon, "black_scholes", *(vector(values, name) for name, values in columns.items()), rate=RATE)

    call, put = black_scholes(**columns, rate=RATE)
    np.testing.assert_allclose(answer["call"], call, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(answer["put"], put, rtol=1e-4, atol=1e-4)


@given(st.integers(0, 300))
def test_work_items_too_many_leave_a_request_of_any_size_alone(daemon: Daemon, count: int) -> None:
    columns = options(count)

    answer = ask(daemon, "black_scholes", *(vector(values, name) for name, values in columns.items()), rate=RATE)

    np.testing.assert_allclose(answer["call"], black_scholes(**columns, rate=RATE)[0], rtol=1e-4, atol=1e-4)


def test_any_client_of_kserve_calls_a_kernel(daemon: Daemon) -> None:
    client = InferenceServerClient(daemon.url)
    tensors = []
    for name in ("a", "b"):
        tensors.append(InferInput(name, [3], "FP32"))
        tensors[-1].set_data_from_numpy(np.array([1, 2, 3], np.float32))

    answer = client.infer("vector_add", tensors)
    client.close()

    assert answer.as_numpy("sum").tolist() == [2, 4, 6]


def test_tensors_may_lie_in_regions(daemon: Daemon) -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 1000)).astype(np.float32)
    with region(daemon, "own", bytes(100) + a.tobytes() + b.tobytes() + bytes(4000)) as file:
        inputs = [
            tensor("a", (1000,), None, **placed("own", 4000, 100)),
            tensor("b", (1000,), None, **placed("own", 4000, 4100)),
        ]
        daemon.infer(request(*inputs, outputs=[y("sum", **placed("own", 4000, 8100))], model="vector_add"))
        written = np.frombuffer(file.read_bytes()[8100:], np.float32)

    assert np.array_equal(written, a + b)


@pytest.mark.parametrize("offset", [0, 128, 100])
def test_large_tensors_may_lie_in_regions(daemon: Daemon, offset: int) -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 300_000)).astype(np.float32)
    with region(daemon, "own", bytes(offset) + a.tobytes() + b.tobytes()):
        inputs = [
            tensor("a", a.shape, None, **placed("own", a.nbytes, offset)),
            tensor("b", b.shape, None, **placed("own", b.nbytes, offset + a.nbytes)),
        ]
        found = ask(daemon, "vector_add", *inputs)

    assert np.array_equal(found["sum"], a + b)


def test_a_large_input_that_is_const_is_read_where_it_lies(daemon: Daemon) -> None:
    spin = "volatile __global const float *v = x; while (v[0] == 0) {} if (i < n) y[i] = v[i];"
    text = source("spin", spin).replace("__global float *x", "__global const float *x")
    write_kernel(daemon.repository, "spin", text, parameters={"time_limit_seconds": "20"})
    daemon.load("spin")
    values = np.arange(300_000, dtype=np.float32)
    with region(daemon, "own", values.tobytes()) as file:
        message = request(tensor("x", values.shape, None, **placed("own", values.nbytes)), model="spin")
        before = worker(daemon).executions
        call = daemon.stub.ModelInfer.future(message, timeout=60)
        eventually(lambda: worker(daemon).executions > before)
        with file.open("r+b") as opened:
            opened.write(np.float32(7).tobytes())  # a kernel with a copy would wait for it for ever

        found = InferResult(call.result()).as_numpy("y")

    assert found[:3].tolist() == [7, 1, 2]


def test_what_writes_to_a_large_input_ends_its_worker_and_leaves_the_region_as_it_is(daemon: Daemon) -> None:
    text = source("over", "((__global float *)x)[i] = 1; y[i] = 1;").replace(
        "__global float *x,", "__global const float *x,"
    )
    write_kernel(daemon.repository, "over", text)
    daemon.load("over")
    values = np.arange(300_000, dtype=np.float32)
    with region(daemon, "own", values.tobytes()) as file:
        with worker_is_replaced(daemon):
            code, said = refusal(daemon, "over", tensor("x", values.shape, None, **placed("own", values.nbytes)))
        kept = file.read_bytes()

    assert (code, "in the kernel of model 'over'" in said) == ("INTERNAL", True)
    assert kept == values.tobytes()


def test_a_region_that_is_too_small_for_an_output_is_refused(daemon: Daemon) -> None:
    a = np.ones(1000, np.float32)
    with region(daemon, "own", bytes(4000)):
        wanted = [y("sum", **placed("own", 3999))]
        code, text = refusal(daemon, "vector_add", vector(a, "a"), vector(a, "b"), outputs=wanted)

    assert (code, "should be at least 4000 bytes" in text) == ("INTERNAL", True)


def test_empty_tensors_give_empty_ones(daemon: Daemon) -> None:
    nothing = np.empty(0, np.float32)

    assert ask(daemon, "vector_add", vector(nothing, "a"), vector(nothing, "b"))["sum"].shape == (0,)


def test_inputs_whose_sizes_differ_are_refused_with_both(daemon: Daemon) -> None:
    code, text = refusal(daemon, "vector_add", vector(np.ones(3, np.float32), "a"), vector(np.ones(4, np.float32), "b"))

    assert code == "INVALID_ARGUMENT"
    assert text == "model 'vector_add': input 'b' has shape [4]: its 'n' is 4, and another input's is 3"


def test_a_missing_scalar_is_named(daemon: Daemon) -> None:
    code, text = refusal(daemon, "black_scholes", *(vector(values, name) for name, values in options(2).items()))

    assert code == "INVALID_ARGUMENT"
    assert text == "model 'black_scholes': request parameter 'rate', a scalar of the kernel, is missing"


def test_an_output_larger_than_the_device_allows_is_refused(daemon: Daemon) -> None:
    write_kernel(
        daemon.repository,
        "large",
        source("large", "if (i < 1) y[0] = x[0];"),
        parameters={"shapes": "x[n], y[m]", "scalars": "m: INT64, n: INT32", "global_size": "n"},
    )
    daemon.load("large")

    code, text = refusal(daemon, "large", vector(np.ones(1, np.float32)), m=2**40)

    assert code == "RESOURCE_EXHAUSTED"
    assert text.startswith("model 'large': the tensors take more bytes than the ")
    assert "('x' 4, 'y' 4,398,046,511,104): send smaller ones" in text


def test_an_output_larger_than_an_answer_is_refused_before_the_kernel_runs(daemon: Daemon) -> None:
    write_kernel(
        daemon.repository,
        "wide",
        ENDLESS.replace("endless", "wide"),
        parameters={"shapes": f"x[n], y[n * {2**26 + 1}]", "time_limit_seconds": "5"},
    )
    daemon.load("wide")

    code, text = refusal(daemon, "wide", vector(np.ones(1, np.float32)))

    assert code == "RESOURCE_EXHAUSTED"
    assert text.startswith(
        "268,435,460 bytes of outputs are wanted inline ('y' 268,435,460), and an answer holds at most"
    )
    assert "268,435,456: have them written to a shared-memory region" in text


def test_what_a_kernel_does_not_write_is_0(daemon: Daemon) -> None:
    write_kernel(daemon.repository, "first_half", source("first_half", "if (i < n / 2) y[i] = x[i];"))
    daemon.load("first_half")

    assert ask(daemon, "first_half", vector(np.ones(4, np.float32)))["y"].tolist() == [1, 1, 0, 0]


def test_a_group_of_more_work_items_than_the_device_takes_is_refused_with_its_limit(daemon: Daemon) -> None:
    sizes = {"kernel": "twice", "global_size": "100000000", "local_size": "100000000"}
    write_kernel(daemon.repository, "grouped", TWICE, parameters=sizes)
    daemon.load("grouped")

    code, text = refusal(daemon, "grouped", vector(np.ones(1, np.float32)))

    assert code == "INVALID_ARGUMENT"
    assert "groups of local_size [100000000]: this device takes at most 4,096 work items in all" in text


def test_a_binary_for_another_device_gives_way_to_the_source(daemon: Daemon) -> None:
    folder = write_kernel(daemon.repository, "both", TWICE, parameters={"kernel": "twice"})
    (folder / "1" / "cpu.bin").write_bytes(b"no program")
    daemon.load("both")

    assert ask(daemon, "both", vector(np.ones(2, np.float32)))["y"].tolist() == [2, 2]


def test_a_binary_comes_before_the_source(daemon: Daemon) -> None:
    device = open_device("cpu-0")
    program = cl.Program(cl.Context([device]), TWICE.replace("2 * x[i]", "3 * x[i]"))
    folder = write_kernel(daemon.repository, "compiled", TWICE, parameters={"kernel": "twice"})
    (binary,) = program.build(cache_dir=False).binaries
    (folder / "1" / "cpu.bin").write_bytes(binary)
    daemon.load("compiled")

    assert ask(daemon, "compiled", vector(np.ones(2, np.float32)))["y"].tolist() == [3, 3]


@pytest.mark.parametrize(
    ("text", "where"),
    [(BEHIND, r"right behind its end of output 'y'"), (BEFORE, r"\d+ bytes before its start of input 'x'")],
    ids=["behind", "before"],
)
def test_a_kernel_that_writes_out_of_bounds_is_named_and_its_worker_replaced(
    daemon: Daemon, text: str, where: str
) -> None:
    name = "behind" if text == BEHIND else "before"
    write_kernel(daemon.repository, name, text)
    daemon.load(name)

    with worker_is_replaced(daemon):
        code, said = refusal(daemon, name, vector(np.ones(100, np.float32)))

    assert code == "INTERNAL"
    assert re.match(f"kernel '{name}' of model '{name}' wrote out of bounds: {where}", said)


def test_a_kernel_that_never_ends_is_stopped_at_its_limit_and_others_are_served(daemon: Daemon) -> None:
    write_kernel(daemon.repository, "endless", ENDLESS, parameters={"time_limit_seconds": "1.5"})
    daemon.load("endless")

    with worker_is_replaced(daemon):
        endless = daemon.stub.ModelInfer.future(request(vector(np.ones(4, np.float32)), model="endless"))
        other = ask(daemon, "twice", vector(np.ones(2, np.float32)))
        error = endless.exception(30)

    assert other["y"].tolist() == [2, 2]
    assert error.code().name == "DEADLINE_EXCEEDED"
    assert error.details().startswith("the kernel of model 'endless' did not end within 1.5 s on device cpu-0, whose")


def test_a_kernel_that_crashes_its_worker_is_named(daemon: Daemon) -> None:
    write_kernel(daemon.repository, "crash", CRASH)
    daemon.load("crash")

    with worker_is_replaced(daemon):
        code, said = refusal(daemon, "crash", vector(np.ones(4, np.float32)))

    assert code == "INTERNAL"
    assert said.startswith(
        "the worker of device cpu-0 ended (signal 11, SIGSEGV) in the kernel of model 'crash' and is"
    )


def test_metadata_are_those_of_the_configuration(daemon: Daemon) -> None:
    answer = daemon.call("ModelMetadata", name="twice")

    assert [(one.name, one.datatype, list(one.shape)) for one in (*answer.inputs, *answer.outputs)] == [
        ("x", "FP32", [-1]),
        ("y", "FP32", [-1]),
    ]
