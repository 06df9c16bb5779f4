"""Kernels of users from Python: what the client takes, what it gives, what it says when a kernel fails."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from kernel_models import BEHIND, ENDLESS, TWICE, black_scholes, install_examples, options, source, write_kernel
from nodes import node

from spark_accel.client import Client
from spark_accel.errors import AccelError, ModelError


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("node")
    install_examples(folder / "repository")
    write_kernel(folder / "repository", "twice", TWICE)
    write_kernel(
        folder / "repository",
        "wide",
        TWICE.replace("twice", "wide"),
        parameters={"shapes": f"x[n], y[n * {2**26 + 1}]"},
    )
    write_kernel(folder / "repository", "behind", BEHIND)
    write_kernel(folder / "repository", "endless", ENDLESS, parameters={"time_limit_seconds": "1.5"})
    write_kernel(folder / "repository", "broken", source("broken", "y[i] = undeclared;"))
    with node(folder, device="cpu") as settings:
        made = Client(settings)
        yield made
        made.close()


def test_outputs_come_by_name_as_arrays_of_their_types(client: Client) -> None:
    columns = options(100)

    answer = client.kernel("black_scholes", **columns, rate=0.03)

    assert {name: (values.dtype, values.shape) for name, values in answer.items()} == {
        "call": (np.float32, (100,)),
        "put": (np.float32, (100,)),
    }
    np.testing.assert_allclose(answer["call"], black_scholes(**columns, rate=0.03)[0], rtol=1e-4, atol=1e-4)


def test_outputs_too_large_for_an_answer_come_by_region(client: Client) -> None:
    y = client.kernel("wide", x=[3])["y"]

    assert (y.shape, y[:2].tolist()) == ((2**26 + 1,), [6, 0])


_SHORT_OF_MEMORY = """
import resource
from spark_accel import client, settings
node = client.Client(settings.from_environment())
node.kernel("wide", x=[])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28 + 2**27,) * 2)  # for the region, not for a copy too
try:
    node.kernel("wide", x=[1])
except MemoryError:
    print("regions", len(node._regions))
node.close()
"""


def test_an_answer_that_the_memory_does_not_hold_leaves_no_region(client: Client) -> None:
    command = [sys.executable, "-c", _SHORT_OF_MEMORY]
    environment = os.environ | client._settings.environment()

    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=300)

    assert done.stdout == "regions 0\n", done.stderr


def test_a_kernel_that_was_replaced_since_it_was_asked_about_is_an_error(client: Client) -> None:
    asked = dataclasses.replace(client.kernel_definition("twice"), outputs=client.kernel_definition("wide").outputs)

    with pytest.raises(ModelError, match=r"output 'y' of model 'twice' is FP32 \[1\], expected FP32 \[67108865\]"):
        client.run_kernel(asked, {"x": [1]})


def test_lists_and_wider_numbers_are_taken(client: Client) -> None:
    assert client.kernel("vector_add", a=[1, 2], b=np.array([0.5, 1.5]))["sum"].tolist() == [1.5, 3.5]


def test_no_rows_give_none(client: Client) -> None:
    assert client.kernel("vector_add", a=[], b=[])["sum"].shape == (0,)


def test_large_tensors_are_whole(client: Client) -> None:
    x = np.random.default_rng(0).random(5_000_000, np.float32)

    assert np.array_equal(client.kernel("twice", x=x)["y"], 2 * x)


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        ({"a": [1.0]}, TypeError, "kernel 'vector_add' misses argument 'b'; it takes a, b"),
        ({"a": [1.0], "b": [1.0], "c": 1}, TypeError, "has no argument 'c'"),
        ({"a": [1.0], "b": ["x"]}, TypeError, "input 'b' of kernel 'vector_add' is FP32, not <U1: cast it before"),
        (
            {"a": [1.0], "b": [1.0, 2.0]},
            AccelError,
            r"input 'b' has shape \[2\]: its 'n' is 2, and another input's is 1",
        ),
        ({"a": [1.0], "b": 1.0}, AccelError, "unexpected shape for input 'b'"),
        ({"a": [1.0], "b": [[1.0], [1.0, 2.0]]}, ValueError, "input 'b' of kernel 'vector_add' is no array: "),
    ],
)
def test_what_a_kernel_can_not_take_is_named(
    client: Client, values: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        client.kernel("vector_add", **values)


def test_a_scalar_that_is_no_number_is_named(client: Client) -> None:
    with pytest.raises(TypeError, match="scalar 'rate' of kernel 'black_scholes' is 'low', expected a number"):
        client.kernel("black_scholes", **options(1), rate="low")
    with pytest.raises(TypeError, match="scalar 'rate' of kernel 'black_scholes' is too large for FP32"):
        client.kernel("black_scholes", **options(1), rate=10**400)


def test_an_unknown_kernel_is_named_with_the_nearest(client: Client) -> None:
    with pytest.raises(ModelError, match=r"model 'vector_ad' is not in the repository .* nearest: 'vector_add'"):
        client.kernel("vector_ad", a=[1], b=[1])


def test_a_model_that_is_no_kernel_is_refused(client: Client) -> None:
    with pytest.raises(ModelError, match="model 'kmeans_costs' is no kernel of a user's: its backend is 'estimator'"):
        client.kernel("kmeans_costs")


def test_a_kernel_that_does_not_compile_is_an_error_with_the_compilers_words(client: Client) -> None:
    with pytest.raises(
        ModelError, match=r"model 'broken' in .*portable.cl of model 'broken' does not compile:[^$]*undecl"
    ):
        client.kernel("broken", x=[1])


@pytest.mark.parametrize(("name", "said"), [("behind", "wrote out of bounds"), ("endless", "did not end within 1.5 s")])
def test_a_kernel_that_fails_is_an_error_once_and_others_go_on(client: Client, name: str, said: str) -> None:
    with pytest.raises(AccelError, match=f"model '{name}' {said}"):
        client.kernel(name, x=[1])

    assert client.kernel("twice", x=[1])["y"].tolist() == [2]
