"""The layer plan: what is saved is loaded, and no file, however made, gets past `load` that kernels can't run."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import random_convolution, random_dense, random_plan
from safetensors import safe_open
from safetensors.numpy import save_file

from spark_accel.errors import ModelError
from spark_accel.networks import plan
from spark_accel.networks.plan import GlobalAveragePool, Layer, MaxPool, Plan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    plan.save(random_plan(np.random.default_rng(0)), tmp_path)
    return tmp_path


def _rewrite(folder: Path, change: Callable[[dict, dict], None]) -> None:
    """Changes the facts and tensors of a saved plan."""
    with safe_open(folder / plan.FILE_NAME, framework="numpy") as file:
        facts = json.loads(file.metadata()["plan"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    change(facts, tensors)
    save_file(tensors, folder / plan.FILE_NAME, metadata={"plan": json.dumps(facts)})


@given(st.integers(0, 2**32))
def test_a_saved_plan_is_loaded_as_it_was(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    folder = tmp_path_factory.mktemp("plan")
    saved = random_plan(np.random.default_rng(seed), blocks=(1, 1), channels=3)

    plan.save(saved, folder)
    loaded = plan.load(folder)

    assert (loaded.height, loaded.width, loaded.classes) == (saved.height, saved.width, saved.classes)
    for one, other in zip(loaded.layers, saved.layers, strict=True):
        assert type(one) is type(other)
        for field in dataclasses.fields(one):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


@given(st.integers(0, 2**32))
def test_a_damaged_file_is_refused_or_still_a_valid_plan(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    folder, rng = tmp_path_factory.mktemp("plan"), np.random.default_rng(seed)
    plan.save(random_plan(rng, blocks=(1,), channels=2), folder)
    data = bytearray((folder / plan.FILE_NAME).read_bytes())
    for position in rng.integers(0, len(data), 3):
        data[position] = rng.integers(0, 256)
    (folder / plan.FILE_NAME).write_bytes(data[: rng.integers(0, len(data)) if seed % 2 else len(data)])

    try:
        loaded = plan.load(folder)
    except ModelError as error:
        assert plan.FILE_NAME in str(error)  # noqa: PT017 - both outcomes are right
    else:
        plan.validate(loaded)


def _residual_multiplier(tensors: dict[str, np.ndarray]) -> np.ndarray:
    return next(tensor for name, tensor in tensors.items() if name.endswith(".residual_multiplier"))


def _stride_as_a_tensor(facts: dict, tensors: dict[str, np.ndarray]) -> None:
    tensors["0.stride"] = np.array(facts["layers"][0].pop("stride"), np.int32)  # sides made of it would overflow


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda facts, _: facts.update(height=0), "image of 0 x"),
        (lambda facts, _: facts.update(width=10**9), "x 1000000000"),
        (lambda facts, _: facts.update(height="tall"), "ValueError"),
        (lambda facts, _: facts.update(layers=[]), "0 layers"),
        (lambda facts, _: facts.update(layers=None), "TypeError"),
        (lambda facts, _: facts["layers"].pop(), "the last layer alone is dense"),
        (lambda facts, _: facts["layers"][0].update(kind="attention"), "KeyError: 'attention'"),
        (lambda facts, _: facts["layers"][0].update(name=7), "'name' is no text"),
        (lambda facts, _: facts["layers"][1].update(input="logits"), "unknown input 'logits'"),
        (lambda facts, _: facts["layers"][1].update(input=["stem"]), "are no integers"),
        (lambda facts, _: facts["layers"][1].update(output="stem"), "output 'stem' exists already"),
        (lambda facts, _: facts["layers"][1].update(kernel=[0, 3]), "kernel"),
        (lambda facts, _: facts["layers"][1].update(stride=[2]), "of wrong length"),
        (lambda facts, _: facts["layers"][1].update(stride=[2.5, 2]), "are no integers"),
        (lambda facts, _: facts["layers"][1].update(padding=[3, 1, 1, 1]), "padding"),
        (lambda facts, _: facts["layers"][1].update(kernel=3), "TypeError"),
        (_stride_as_a_tensor, "TypeError"),
        (lambda _, tensors: tensors.pop("0.weights"), "weights have not 4 dimensions"),
        (lambda _, tensors: tensors.update({"0.weights": tensors["0.weights"].astype(np.int16)}), "weights is int16"),
        (lambda _, tensors: tensors.update({"0.weights": tensors["0.weights"][..., :2].copy()}), "weights is int8"),
        (lambda _, tensors: tensors.update({"0.bias": tensors["0.bias"][:-1]}), "bias is int32"),
        (lambda _, tensors: tensors["0.multiplier"].fill(np.nan), "not finite and positive"),
        (lambda _, tensors: tensors["0.multiplier"].fill(-1), "not finite and positive"),
        (lambda _, tensors: tensors["0.bias"].fill(2**31 - 1), "sums can exceed int32"),
        (lambda facts, _: facts["layers"][2].update(residual="image"), "half a residual"),
        (lambda _, tensors: _residual_multiplier(tensors).fill(-(2**22)), "residual_multiplier of 4194304, at most"),
    ],
)
def test_a_hostile_plan_is_refused(folder: Path, change: Callable[[dict, dict], None], reason: str) -> None:
    _rewrite(folder, change)

    with pytest.raises(ModelError, match=f"is not a usable network.*{reason}"):
        plan.load(folder)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"network\.safetensors is not a usable network"):
        plan.load(tmp_path)


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / plan.FILE_NAME)

    with pytest.raises(ModelError, match="it is no file"):
        plan.load(tmp_path)


def test_a_file_without_a_plan_is_refused(tmp_path: Path) -> None:
    save_file({"x": np.zeros(3, np.float32)}, tmp_path / plan.FILE_NAME)

    with pytest.raises(ModelError, match="is not a usable network"):
        plan.load(tmp_path)


def test_a_residual_of_another_shape_is_refused() -> None:
    rng = np.random.default_rng(0)
    first = random_convolution(rng, (8, 8, 3), 4, output="first")
    second = random_convolution(rng, (8, 8, 4), 4, stride=(2, 2), input="first", output="second", residual="first")

    with pytest.raises(ValueError, match=r"residual 'first' is \(8, 8, 4\), expected \(4, 4, 4\)"):
        plan.validate(_ended(8, [first, second], 4))


def test_an_average_whose_sums_do_not_fit_is_refused() -> None:
    first = random_convolution(np.random.default_rng(0), (4096, 4096, 3), 1, (1, 1), output="second")

    with pytest.raises(ValueError, match=r"sums over \(4096, 4096\) can exceed int32"):
        plan.validate(_ended(4096, [first], 1))


def test_a_kernel_larger_than_its_input_is_refused() -> None:
    first = random_convolution(np.random.default_rng(0), (8, 8, 3), 2, output="first")
    pool = MaxPool("pool", "first", "second", (9, 9), (1, 1), (0, 0, 0, 0))

    with pytest.raises(ValueError, match=r"kernel \(9, 9\) is larger than its input"):
        plan.validate(_ended(8, [first, pool], 2))


def test_an_output_that_no_buffer_holds_is_refused() -> None:
    first = random_convolution(np.random.default_rng(0), (300, 300, 3), 100, (1, 1), output="first")
    pools = [
        MaxPool(f"pool{n}", before, after, (3000, 3000), (1, 1), (2999, 2999, 2999, 2999))
        for n, (before, after) in enumerate([("first", "second"), ("second", "third")])
    ]

    with pytest.raises(ValueError, match=r"layer 2 'pool1': output of \(6298, 6298, 100\)"):
        plan.validate(_ended(300, [first, *pools], 100))


@given(st.integers(-128, 127), st.integers(1, 5))
def test_the_largest_sum_counts_each_weight_by_its_size(weight: int, channels: int) -> None:
    dense = random_dense(np.random.default_rng(0), channels, 1, input="average")
    size = abs(weight) * 255 * channels
    for bias, fits in ((2**31 - 1 - size, True), (2**31 - size, False)):
        changed = dataclasses.replace(
            dense, weights=np.full_like(dense.weights, weight), bias=np.array([min(bias, 2**31 - 1)], np.int32)
        )
        context = contextlib.nullcontext() if fits or size == 0 else pytest.raises(ValueError, match="exceed int32")
        with context:
            plan._check_dense("here", changed, channels)


def _ended(side: int, layers: list[Layer], channels: int) -> Plan:
    average = GlobalAveragePool("average", "second", "average", np.full(channels, 0.1, np.float32))
    dense = random_dense(np.random.default_rng(0), channels, 5, input="average")
    return Plan(side, side, (*layers, average, dense))
