"""A model of the engine on a board: cycles a layer, images/s, latency, and what of the board's limits that takes.

Trips are those that the kernels make: tests hold them to the iterations that the kernels count on an emulator, layer by
layer. All else is prediction: that a trip takes one cycle at the clock given, that external memory gives 70 % of its
peak, that a layer costs FILL cycles besides its trips. No board has been measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil

from spark_accel.fpga.boards import Board
from spark_accel.fpga.engine import Engine
from spark_accel.fpga.memory import Layout, placed
from spark_accel.fpga.stages import Stage, real_products

FILL = 500  # cycles in which a layer's first pixels pass the stages, an assumption
MEMORY_EFFICIENCY = 0.7  # of external memory's peak
MOST_DSPS, MOST_MEMORY = 0.9, 0.85  # of a board that designs have been fitted into
_EPILOGUE_DSPS = 2  # a lane and pixel that leave the array in a cycle: one float32 product, one with the residual
_WINOGRAD = 4 / 9  # of a 3x3 layer's products are left by F(2x2, 3x3)
BATCH = 128


@dataclass(frozen=True)
class Design:
    """`engines` engines on a board at `clock_mhz`, each with `group` images at once."""

    engine: Engine
    engines: int
    group: int
    clock_mhz: float
    winograd: bool = False


@dataclass(frozen=True)
class LayerEstimate:
    """One layer and one image: trips of `maps` and of `array`, the cycles of the slower, bytes of weights, and
    multiplications that the network asks for. `waiting` are cycles a group for weights to arrive."""

    name: str
    fed: int
    summed: int
    cycles: int
    weight_bytes: int
    products: int
    waiting: float


@dataclass(frozen=True)
class Estimate:
    """Predictions for a board. Shares are of the board's own limits."""

    board: Board
    design: Design
    layout: Layout
    layers: tuple[LayerEstimate, ...]
    cycles_of_one: float
    cycles_of_group: float
    dsps: int
    memory_share: float
    external_gb_s: float
    host_gb_s: float

    @property
    def latency_ms(self) -> float:
        """Of one image on one engine."""
        return self.cycles_of_one / self.design.clock_mhz / 1e3

    @property
    def images_per_second(self) -> float:
        """At batch 128, over all engines."""
        turns = ceil(BATCH / (self.design.engines * self.design.group))
        return BATCH / (turns * self.cycles_of_group / self.design.clock_mhz / 1e6)

    @property
    def images_per_second_and_watt(self) -> float:
        """By the board's rated power, which is more than it draws."""
        return self.images_per_second / self.board.watts

    @property
    def efficiency(self) -> float:
        """Multiplications that the network asks for, of those that the array could do."""
        wanted = sum(layer.products for layer in self.layers) * self.design.group
        return wanted / (self.cycles_of_group * self.design.engine.products)

    @property
    def dsp_share(self) -> float:
        """Of the board's DSPs."""
        return self.dsps / self.board.dsps

    @property
    def external_share(self) -> float:
        """Of what external memory is taken to give."""
        return self.external_gb_s / (self.board.memory_gb_s * MEMORY_EFFICIENCY)

    @property
    def host_share(self) -> float:
        """Of what the host's bus is taken to give."""
        return self.host_gb_s / self.board.host_gb_s


def estimate(stages: Sequence[Stage], board: Board, design: Design, layout: Layout) -> Estimate:
    """The prediction for a network's stages, laid out for `design.group` images."""
    engine = design.engine
    bytes_per_cycle = board.memory_gb_s * MEMORY_EFFICIENCY * 1e3 / design.clock_mhz / design.engines
    layers = tuple(_layer(stage, design, bytes_per_cycle, number, layout) for number, stage in enumerate(stages))
    load = loads(stages[0], engine)
    image_bytes = load * engine.pix * engine.vec
    loading = max(load, image_bytes / bytes_per_cycle)
    group = loading * design.group
    weights = 0.0
    for number, layer in enumerate(layers):
        passes, images = (design.group, 1) if number < layout.split else (1, design.group)
        group += passes * _cycles(layer, images, bytes_per_cycle, engine)
        weights += passes * layer.weight_bytes
    host_bytes_per_cycle = board.host_gb_s * 1e3 / design.clock_mhz / design.engines
    group = max(group, image_bytes * design.group / host_bytes_per_cycle)  # images come while others are computed
    one = loading + sum(_cycles(layer, 1, bytes_per_cycle, engine) for layer in layers)
    per_second = design.engines * design.group / (group / design.clock_mhz / 1e6)
    used = replace(engine, words=layout.words)
    return Estimate(
        board,
        design,
        layout,
        layers,
        one,
        group,
        dsps(board, design),
        memory_share(board, used, design.engines),
        (weights / design.group + image_bytes) * per_second / 1e9,
        image_bytes * per_second / 1e9,
    )


@cache
def trips(stage: Stage, engine: Engine, images: int = 1) -> tuple[int, int]:
    """Iterations of `maps` and of `array` for a layer: what the kernels count."""
    segments = stage.tiles(engine) * images * stage.sums[0] * stage.segments(engine)
    beats = stage.beats(engine)
    fed = segments * (beats + (stage.residual is not None))
    return fed, segments * max(beats, engine.messages) + engine.messages


def loads(first: Stage, engine: Engine) -> int:
    """Iterations in which `maps` takes in an image."""
    rows, columns, channels = first.input
    return rows * -(-columns // engine.pix) * -(-channels // engine.vec)


def dsps(board: Board, design: Design) -> int:
    """DSPs for the array's products and the epilogue's."""
    engine = design.engine
    packed = board.wide_products_per_dsp if design.winograd else board.products_per_dsp
    return design.engines * (ceil(engine.products / packed) + _EPILOGUE_DSPS * engine.lanes * engine.drain)


@cache
def memory_share(board: Board, engine: Engine, engines: int) -> float:
    """The share that is used of the kind of on-chip memory that is used most; each buffer goes where it takes least."""
    there = {memory: memory.blocks / board.dies for memory in board.memories}
    used = dict.fromkeys(board.memories, 0.0)
    on_a_die = ceil(engines / board.dies)
    word = engine.lanes * 8
    buffers = (
        (2, engine.vec * word, engine.weight_words),
        (engine.pix, word, engine.words),
        (2, word, engine.pool_columns),
    )
    for count, width, depth in buffers:
        blocks = {one: on_a_die * count * ceil(width / one.width) * ceil(depth / one.depth) for one in board.memories}
        best = min(board.memories, key=lambda one: (used[one] + blocks[one]) / there[one])
        used[best] += blocks[best]
    return max(used[one] / there[one] for one in board.memories)


def _layer(stage: Stage, design: Design, bytes_per_cycle: float, number: int, layout: Layout) -> LayerEstimate:
    engine = design.engine
    fed, summed = trips(stage, engine)
    if design.winograd and stage.weights.shape[1:3] == (3, 3) and stage.stride == (1, 1):
        fed, summed = ceil(fed * _WINOGRAD), ceil(summed * _WINOGRAD)
    weight_bytes = stage.tiles(engine) * stage.beats(engine) * engine.vec * engine.lanes
    images = 1 if number < layout.split else design.group
    cycles = max(fed, summed)
    waiting = max(0.0, weight_bytes / bytes_per_cycle - images * cycles) * (design.group / images)
    return LayerEstimate(stage.name, fed, summed, cycles, weight_bytes, real_products(stage), waiting)


def _cycles(layer: LayerEstimate, images: int, bytes_per_cycle: float, engine: Engine) -> float:
    return max(images * layer.cycles, layer.weight_bytes / bytes_per_cycle) + engine.messages + FILL


def fitting_layout(stages: Sequence[Stage], board: Board, engine: Engine, engines: int, group: int) -> Layout | None:
    """The layout with the earliest split at which the board's memory suffices; None without."""
    for split in _splits(stages) if group > 1 else [0]:
        found = _placed(tuple(stages), engine.lanes, engine.pix, group, split)
        if memory_share(board, replace(engine, words=found.words), engines) <= MOST_MEMORY:
            return found
    return None


def _splits(stages: Sequence[Stage]) -> list[int]:
    """Where feature maps become smaller."""
    changes = [n for n in range(1, len(stages)) if stages[n].input[0] != stages[n - 1].input[0]]
    return [0, *changes]


@cache
def _placed(stages: tuple[Stage, ...], lanes: int, pix: int, group: int, split: int) -> Layout:
    return placed(stages, Engine(lanes, lanes, pix, 1, 0, 0, 0), group, split)
