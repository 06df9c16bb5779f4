"""Networks as programs of the FPGA's engine: the table, where activations lie, images as the first layer reads them."""

import re

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import Shape, random_convolution, random_dense, random_images, random_plan

from spark_accel.daemon import kernels
from spark_accel.fpga import memory, program, resnets, stages
from spark_accel.fpga.engine import Engine
from spark_accel.fpga.stages import UnsupportedNetwork
from spark_accel.networks.plan import INPUT, Convolution, Dense, GlobalAveragePool, MaxPool, Plan

ENGINE = Engine(vec=16, lanes=16, pix=7, drain=1, words=2**20, weight_words=512, pool_columns=64)
seeds = st.integers(0, 2**32 - 1)


def small_plan(*, stride: int = 1, kernel: int = 3, pool: MaxPool | None = None, side: int = 16) -> Plan:
    rng = np.random.default_rng(0)
    first = random_convolution(rng, (side, side, 3), 8, (kernel, kernel), (stride, stride), output="a")
    rows = (side + 2 * (kernel // 2) - kernel) // stride + 1
    second = random_convolution(rng, (rows, rows, 8), 8, (kernel, kernel), (stride, stride), input="a", output="b")
    layers = [first, second]
    last = "b"
    if pool is not None:
        layers.append(pool)
        last = pool.output
    average = GlobalAveragePool("average", last, "average", np.full(8, 0.01, np.float32))
    return Plan(side, side, (*layers, average, random_dense(rng, 8, 5, input="average")))


def image_plan(*, input: str, residual: str | None = None) -> Plan:
    """Two convolutions, of which the second one has the image, too."""
    rng = np.random.default_rng(0)
    first = random_convolution(rng, (9, 9, 3), 3, output="a")
    second = random_convolution(rng, (9, 9, 3), 3, input=input, output="b", residual=residual)
    average = GlobalAveragePool("average", "b", "average", np.full(3, 0.01, np.float32))
    return Plan(9, 9, (first, second, average, random_dense(rng, 3, 5, input="average")))


def test_the_table_has_the_fields_of_the_kernels() -> None:
    text = (kernels.folder() / "network" / "fpga_program.h").read_text(encoding="utf-8")
    (fields,) = re.findall(r"typedef struct \{\s*int kind(.*?)\} step_t;", text, re.DOTALL)

    declared = re.sub(r"//.*|\bint\b|\s", "", "kind" + fields).replace(";", ",").strip(",").split(",")

    assert tuple(declared) == program.FIELDS


@given(seed=seeds, group=st.integers(1, 5))
def test_activations_that_are_needed_at_once_do_not_share_memory(seed: int, group: int) -> None:
    rng = np.random.default_rng(seed)
    plan = random_plan(rng, height=int(rng.integers(17, 60)), width=int(rng.integers(17, 60)))
    found = stages.stages(plan, ENGINE)

    for split in range(len(found)):
        chip = Chip(memory.placed(found, ENGINE, group, split))
        for image in range(group):
            chip.write(INPUT, image, found[0].input)
            for stage in found[:split]:
                chip.run(stage, image)
        for stage in found[split:]:
            for image in range(group):
                chip.run(stage, image)
        assert max(chip.content) < chip.layout.words


class Chip:
    """What each word of the memory holds: an activation and its image."""

    def __init__(self, layout: memory.Layout) -> None:
        self.layout = layout
        self.content: dict[int, tuple[str, int]] = {}

    def words(self, name: str, image: int, shape: Shape) -> range:
        at = self.layout.place[name] + image * self.layout.step[name]
        return range(at, at + memory.words_of(shape, ENGINE))

    def write(self, name: str, image: int, shape: Shape) -> None:
        self.content.update(dict.fromkeys(self.words(name, image, shape), (name, image)))

    def holds(self, name: str, image: int, shape: Shape) -> bool:
        return {self.content[word] for word in self.words(name, image, shape)} == {(name, image)}

    def run(self, stage: stages.Stage, image: int) -> None:
        assert self.holds(stage.source, image, stage.input)
        if stage.residual is not None:
            assert self.holds(stage.residual, image, stage.sums)
        if not isinstance(stage.layer, Dense):
            self.write(stage.output, image, stage.stored)
            assert self.holds(stage.source, image, stage.input)  # while it is written


def test_the_split_is_the_earliest_that_fits() -> None:
    plan = resnets.plan("resnet50")
    found = stages.stages(plan, ENGINE)
    all_late = memory.placed(found, ENGINE, 4, 0).words
    enough = Engine(16, 16, 7, 1, all_late, 512, 64)
    short = Engine(16, 16, 7, 1, all_late - 1, 512, 64)

    assert memory.layout(found, enough, 4).split == 0
    assert memory.layout(found, short, 4).split > 0
    assert memory.layout(found, short, 4).words < all_late


@given(seed=seeds)
def test_packed_images_are_the_windows_of_the_first_layer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plan = random_plan(rng, height=int(rng.integers(17, 40)), width=int(rng.integers(17, 40)))
    images = random_images(rng, plan, 2)
    (first, *_) = stages.stages(plan, ENGINE)

    packed = stages.packed(images, first, ENGINE)

    rows, columns, channels = first.input
    n = len(images)
    x = packed.transpose(0, 1, 2, 4, 3, 5).reshape(n, rows, -1, packed.shape[3] * ENGINE.vec)[:, :, :columns, :channels]
    taps = first.weights.shape[1]
    out = sum(x[:, tap : tap + first.sums[0]] @ first.weights[:, tap, 0].T.astype(np.int64) for tap in range(taps))
    assert isinstance(first.layer, Convolution)
    np.testing.assert_array_equal(out, sums_of(first.layer, images, first.sums[:2]))


def sums_of(layer: Convolution, images: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Sums of products as plan.py defines them."""
    top, left, bottom, right = layer.padding
    n, height, width, colors = images.shape
    padded = np.empty((n, height + top + bottom, width + left + right, colors), np.int64)
    padded[:] = layer.pad_value
    padded[:, top : top + height, left : left + width] = images
    found = np.zeros((n, *size, len(layer.weights)), np.int64)
    for row, column in np.ndindex(*layer.weights.shape[1:3]):
        at = padded[:, row :: layer.stride[0], column :: layer.stride[1]][:, : size[0], : size[1]]
        found += at @ layer.weights[:, row, column].T.astype(np.int64)
    return found


@pytest.mark.parametrize(
    ("plan", "engine", "reason"),
    [
        (small_plan(stride=7, side=64), ENGINE, "layer 'b': a stride of 7 for segments of 7 pixels"),
        (small_plan(), Engine(16, 16, 7, 1, 2**20, 8, 64), "layer 'b': 9 words of weights a tile, .* room for 8"),
        (small_plan(), Engine(16, 16, 7, 1, 5, 512, 64), r"activations of \d+ words in each of 7 banks, .* room for 5"),
        (
            small_plan(pool=MaxPool("pool", "b", "p", (4, 4), (2, 2), (0, 0, 0, 0))),
            ENGINE,
            r"layer 'pool': a window of \(4, 4\), at most 3 x 3",
        ),
        (
            small_plan(pool=MaxPool("pool", "b", "p", (2, 2), (1, 1), (0, 0, 1, 1))),
            ENGINE,
            r"layer 'pool': two windows end at the edge of its input of \(16, 16\)",
        ),
        (
            small_plan(pool=MaxPool("pool", "b", "p", (2, 2), (2, 2), (0, 0, 0, 0))),
            ENGINE,
            "layer 'average' pools what no convolution makes for it alone",
        ),
        (
            small_plan(pool=MaxPool("pool", "b", "p", (2, 2), (2, 2), (0, 0, 0, 0)), side=160),
            ENGINE,
            "layer 'pool': 80 columns, .* room for 64: build one with POOL_COLUMNS=80 or more",
        ),
        (image_plan(input=INPUT), ENGINE, "layer 'b' reads the image, which is packed for .* layer 'a'"),
        (image_plan(input="a", residual=INPUT), ENGINE, "layer 'b' reads the image, which is packed for .* layer 'a'"),
        (
            Plan(1, 1, (random_dense(np.random.default_rng(0), 3, 5, input=INPUT),)),
            ENGINE,
            "layer 'logits' is dense and reads the image, which is packed for convolutions",
        ),
    ],
)
def test_what_the_engine_can_not_run_is_named(plan: Plan, engine: Engine, reason: str) -> None:
    with pytest.raises(UnsupportedNetwork, match=reason):
        program.program(plan, engine, 1)
