"""The FPGA's engine on the emulator: bit for bit the numpy reference, with as many iterations as the model says."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import emulated_network
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plans import Shape, random_convolution, random_dense, random_images, random_plan

from spark_accel.daemon import kernels
from spark_accel.fpga import estimate, program, resnets
from spark_accel.fpga.engine import Engine
from spark_accel.networks import plan as plans
from spark_accel.networks import reference
from spark_accel.networks.plan import Convolution, GlobalAveragePool, MaxPool, Plan, output_shape

UInt8 = npt.NDArray[np.uint8]
SHAPES = [  # of the engine
    {},
    {"VEC": 8, "LANES": 8, "PIX": 7, "DRAIN": 1},
    {"VEC": 4, "LANES": 16, "PIX": 5, "DRAIN": 2},
    {"VEC": 8, "LANES": 32, "PIX": 3, "DRAIN": 3},
    {"VEC": 16, "LANES": 16, "PIX": 1, "DRAIN": 1},
]
few = settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])


def shape_of(defines: dict[str, int]) -> Engine:
    (tier,) = (one for one in kernels.tiers(kernels.folder() / "network") if one.name == "fpga")
    return Engine.from_defines({**tier.defines, **defines})


def assert_equals_reference(
    emulator: ProcessPoolExecutor, plan: Plan, images: UInt8, defines: dict[str, int], max_batch: int = 1
) -> None:
    logits, _ = emulator.submit(emulated_network.engine, plan, images, max_batch, defines).result()

    np.testing.assert_array_equal(logits, reference.run(plan, images))


def plan_of(rng: np.random.Generator, shape: Shape, *layers: Convolution | MaxPool) -> Plan:
    """`layers` from activation `x` of this shape to `y`; the average of what a further convolution makes of that."""
    height, width, channels = shape
    shapes = {"x": shape}
    for layer in layers:
        shapes[layer.output] = output_shape(layer, shapes[layer.input])
    first = random_convolution(rng, (height, width, 3), channels, (1, 1), output="x", relu=False)
    rows, columns, _ = shapes["y"]
    last = random_convolution(rng, shapes["y"], 9, (1, 1), input="y", output="z")
    average = GlobalAveragePool("average", "z", "average", np.full(9, 1 / (rows * columns), np.float32))
    plan = Plan(height, width, (first, *layers, last, average, random_dense(rng, 9, 21, input="average")))
    plans.validate(plan)
    return plan


@pytest.mark.parametrize("defines", SHAPES, ids=str)
@few
@given(seed=st.integers(0, 2**32 - 1))
def test_networks_are_equal_to_the_reference(emulator: ProcessPoolExecutor, defines: dict[str, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(17, 60, 2))
    plan = random_plan(rng, height=height, width=width, channels=int(rng.integers(3, 40)))
    max_batch = int(rng.integers(1, 6))
    images = random_images(rng, plan, int(rng.integers(1, max_batch + 1)))

    assert_equals_reference(emulator, plan, images, {**defines, "GROUP": int(rng.integers(1, 4))}, max_batch)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_windows_strides_and_padding_of_any_size(emulator: ProcessPoolExecutor, seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width, channels = int(rng.integers(1, 14)), int(rng.integers(1, 30)), int(rng.integers(1, 40))
    kernel = int(rng.integers(1, min(height, 5) + 1)), int(rng.integers(1, min(width, 5) + 1))
    stride = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    padding = [int(rng.integers(0, side)) for side in (*kernel, *kernel)]
    convolution = random_convolution(
        rng, (height, width, channels), int(rng.integers(1, 40)), kernel, stride, input="x", relu=False,
        padding=(padding[0], padding[1], padding[2], padding[3]),
    )  # fmt: skip
    plan = plan_of(rng, (height, width, channels), convolution)

    assert_equals_reference(emulator, plan, random_images(rng, plan, 1), {})


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "padding"),
    [
        ((112, 112), (3, 3), (2, 2), (1, 1, 1, 1)),  # ResNet's
        ((15, 23), (2, 2), (2, 2), (0, 0, 0, 0)),
        ((9, 20), (3, 2), (1, 2), (0, 0, 0, 0)),
        ((8, 9), (3, 3), (3, 2), (1, 1, 0, 0)),
        ((7, 7), (1, 3), (2, 1), (0, 0, 0, 0)),
    ],
)
def test_a_maximum_over_windows_is_taken_on_the_way(
    emulator: ProcessPoolExecutor,
    side: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> None:
    rng = np.random.default_rng(1)
    shape = (*side, 5)
    convolution = random_convolution(rng, shape, 20, (1, 1), input="x", output="c", relu=False)
    plan = plan_of(rng, shape, convolution, MaxPool("pool", "c", "y", kernel, stride, padding))

    for defines in ({}, {"VEC": 4, "LANES": 16, "PIX": 5, "DRAIN": 2}):
        assert_equals_reference(emulator, plan, random_images(rng, plan, 1), defines)


@pytest.mark.parametrize("defines", SHAPES, ids=str)
def test_the_kernels_count_the_iterations_of_the_model(emulator: ProcessPoolExecutor, defines: dict[str, int]) -> None:
    rng = np.random.default_rng(7)
    plan = random_plan(rng, height=57, width=64, channels=24)
    engine, group, n = shape_of(defines), 3, 2
    made = program.program(plan, engine, group)

    _, (fed, summed) = emulator.submit(
        emulated_network.engine, plan, random_images(rng, plan, n), group, {**defines, "GROUP": group}
    ).result()

    for number, stage, step in zip(range(len(fed)), made.stage_of_step, made.steps, strict=True):
        images = n if step["image"] < 0 else int(step["image"] < n)
        if stage is None:
            assert fed[number] == images * estimate.loads(made.stages[0], engine)
        elif images:
            assert (fed[number], summed[number]) == estimate.trips(made.stages[stage], engine, images)
        else:
            assert fed[number] == summed[number] == 0


def test_a_network_that_the_engine_can_not_run_runs_on_the_next_tier(emulator: ProcessPoolExecutor) -> None:
    rng = np.random.default_rng(3)
    shape = (9, 9, 4)
    plan = plan_of(rng, shape, MaxPool("pool", "x", "y", (4, 4), (2, 2), (0, 0, 0, 0)))  # 4 x 4: a window too large
    images = random_images(rng, plan, 2)

    logits, tier = emulator.submit(emulated_network.as_loaded, plan, images, 2).result()

    assert tier == "portable"
    np.testing.assert_array_equal(logits, reference.run(plan, images))


def test_batches_that_are_under_way_together_keep_their_images_and_their_results(emulator: ProcessPoolExecutor) -> None:
    rng = np.random.default_rng(5)
    plan = random_plan(rng)
    batches = [random_images(rng, plan, n) for n in (5, 2, 4, 1)]  # of up to three groups

    found = emulator.submit(emulated_network.under_way, plan, batches, {**SHAPES[0], "GROUP": 2}).result()

    for logits, images in zip(found, batches, strict=True):
        np.testing.assert_array_equal(logits, reference.run(plan, images))


def test_a_way_back_with_room_for_two_segments_is_enough(emulator: ProcessPoolExecutor) -> None:
    rng = np.random.default_rng(9)
    plan = random_plan(rng)

    assert_equals_reference(emulator, plan, random_images(rng, plan, 1), {**SHAPES[1], "IN_FLIGHT": 14})


def test_a_profile_has_all_layers(emulator: ProcessPoolExecutor) -> None:
    rng = np.random.default_rng(4)
    plan = random_plan(rng)

    layers = emulator.submit(emulated_network.profiled, plan, random_images(rng, plan, 2)).result()

    assert [name for name, _ in layers] == [layer.name for layer in plan.layers]
    assert sum(seconds for _, seconds in layers) > 0


def test_the_real_resnet50_runs_whole(
    emulator: ProcessPoolExecutor, resnet50_model: Path, shared_resnet50: Path
) -> None:
    from spark_accel import images

    plan = plans.load(resnet50_model)
    files = sorted((shared_resnet50 / "images").rglob("*.[jJ][pP]*[gG]"))[:2]
    photographs = np.stack([images.decode(file.read_bytes(), 224, 224, 256) for file in files])

    logits, tier = emulator.submit(emulated_network.as_loaded, plan, photographs, 2).result()

    assert tier == "fpga"
    np.testing.assert_array_equal(logits, reference.run(plan, photographs))


def test_a_residual_of_any_multiplier(emulator: ProcessPoolExecutor) -> None:
    rng = np.random.default_rng(5)
    shape = (6, 8, 20)
    added = random_convolution(rng, shape, 20, (1, 1), input="x", residual="x", relu=False)
    largest = rng.choice([-1, 1], 20) * plans.MAX_RESIDUAL_MULTIPLIER
    plan = plan_of(rng, shape, replace(added, residual_multiplier=largest.astype(np.int32)))

    assert_equals_reference(emulator, plan, random_images(rng, plan, 1), {})


def test_a_multiplier_beyond_the_largest_int_saturates(emulator: ProcessPoolExecutor) -> None:
    rng = np.random.default_rng(6)
    shape = (6, 8, 20)
    scaled = random_convolution(rng, shape, 20, (1, 1), input="x", relu=False)
    plan = plan_of(rng, shape, replace(scaled, multiplier=np.full(20, 1e7, np.float32)))

    assert_equals_reference(emulator, plan, random_images(rng, plan, 1), {})


def test_a_whole_resnet50_v1_of_random_weights(emulator: ProcessPoolExecutor) -> None:
    rng = np.random.default_rng(8)
    shapes_only = resnets.plan("resnet50")
    shapes = shapes_only.shapes()
    layers: list[plans.Layer] = []
    for layer in shapes_only.layers:
        if isinstance(layer, Convolution):
            out, *kernel, _ = layer.weights.shape
            made = random_convolution(
                rng, shapes[layer.input], out, (kernel[0], kernel[1]), layer.stride, padding=layer.padding,
                input=layer.input, output=layer.output, residual=layer.residual,
            )  # fmt: skip
            layers.append(made)
        elif isinstance(layer, GlobalAveragePool):
            layers.append(replace(layer, multiplier=np.full(2048, 1 / 49, np.float32)))
        elif isinstance(layer, MaxPool):
            layers.append(layer)
        else:
            layers.append(random_dense(rng, 2048, 1000, input=layer.input))
    plan = replace(shapes_only, layers=tuple(layers))
    plans.validate(plan)
    images = random_images(rng, plan, 1)

    logits, tier = emulator.submit(emulated_network.as_loaded, plan, images, 1).result()

    assert tier == "fpga"
    np.testing.assert_array_equal(logits, reference.run(plan, images))
