"""Finds the design that fits a board and is fastest: by trying all shapes of the engine that make sense."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

from spark_accel.errors import ConfigurationError
from spark_accel.fpga.boards import Board
from spark_accel.fpga.engine import Engine
from spark_accel.fpga.estimate import MOST_DSPS, Design, Estimate, dsps, estimate, fitting_layout
from spark_accel.fpga.memory import Layout
from spark_accel.fpga.stages import Stage, stages
from spark_accel.networks.plan import MaxPool, Plan

VECS, LANES, PIXELS, DRAINS, GROUPS = (8, 16, 32), (8, 16, 32, 64, 128), (7,), (1, 2, 4, 7), (1, 2, 4, 8)
_POOL_COLUMNS = 64  # at least
_UNLIMITED = 2**20


def fastest(
    plan: Plan, board: Board, *, vec: int | None = None, lanes: int | None = None, clock_mhz: float | None = None,
    winograd: bool = False, batch: int = 128,
) -> Estimate:  # fmt: skip
    """The design with most images/s, or (`batch` 1) the shortest latency; `vec`, `lanes` and `clock_mhz` may be given.

    Raises ConfigurationError where none fits, UnsupportedNetwork where no engine runs the network.
    """
    found = list(fitting(plan, board, vec=vec, lanes=lanes, clock_mhz=clock_mhz, winograd=winograd))
    if not found:
        if vec and not any(many % vec == 0 for many in ((lanes,) if lanes else LANES)):
            many = str(lanes) if lanes else ", ".join(map(str, LANES))
            raise ConfigurationError(f"vec is {vec}: lanes ({many}) must be a multiple of it")
        asked = f" with vec {vec or 'any'} and lanes {lanes or 'any'}"
        raise ConfigurationError(f"no engine{asked} fits {board.title}: it has {board.dsps} DSPs")
    if batch == 1:
        return min(found, key=lambda one: (one.latency_ms, -one.images_per_second, one.dsps))
    return max(found, key=lambda one: (one.images_per_second, -one.latency_ms, -one.dsps))


def fitting(
    plan: Plan, board: Board, *, vec: int | None = None, lanes: int | None = None, clock_mhz: float | None = None,
    winograd: bool = False,
) -> Iterator[Estimate]:  # fmt: skip
    """Designs that fit the board, as many engines of each shape as it takes."""
    for shape in _shapes(vec, lanes):
        found = _stages(plan, shape.pix)
        pooled = (one.stored[1] for one in found if isinstance(one.pool, MaxPool))
        engine = Engine(
            shape.vec, shape.lanes, shape.pix, shape.drain, 0, max(one.beats(shape) for one in found),
            max([_POOL_COLUMNS, *pooled]),
        )  # fmt: skip
        for group in GROUPS:
            design = Design(engine, 1, group, clock_mhz or board.clock_mhz, winograd)
            best = _most_engines(found, board, design)
            if best is not None:
                yield best


@cache  # what is computed of a stage, layouts above all, is then found again for other shapes and boards
def _stages(plan: Plan, pix: int) -> tuple[Stage, ...]:
    """The stages of a plan, of engines with segments of `pix` pixels; raises UnsupportedNetwork."""
    return tuple(stages(plan, Engine(1, 1, pix, 1, _UNLIMITED, _UNLIMITED, _UNLIMITED)))


def _shapes(vec: int | None, lanes: int | None) -> Iterator[Engine]:
    for one in (vec,) if vec else VECS:
        for many in (lanes,) if lanes else LANES:
            if many % one == 0:
                for pix in PIXELS:
                    for drain in DRAINS:
                        yield Engine(one, many, pix, drain, _UNLIMITED, _UNLIMITED, _UNLIMITED)


def _most_engines(found: Sequence[Stage], board: Board, one: Design) -> Estimate | None:
    def layout(on_a_die: int) -> Layout | None:
        if on_a_die * dsps(board, one) > board.dsps / board.dies * MOST_DSPS:
            return None
        return fitting_layout(found, board, one.engine, on_a_die * board.dies, one.group)

    # Where so many do not fit, no more do: an engine takes a DSP at least.
    most = bisect_left(range(1, board.dsps + 1), True, key=lambda on_a_die: layout(on_a_die) is None)
    best = layout(most) if most else None
    return None if best is None else estimate(found, board, replace(one, engines=most * board.dies), best)
