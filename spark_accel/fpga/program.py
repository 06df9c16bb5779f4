"""The engine's program for a network: the table of steps that its kernels walk, weights and parameters as they lie.

The columns of the table are the fields of `step_t` in `kernels/network/fpga_program.h`, which explains them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_accel.fpga.engine import Engine
from spark_accel.fpga.memory import Layout, layout
from spark_accel.fpga.stages import Stage, stages
from spark_accel.networks.plan import Convolution, Dense, GlobalAveragePool, Int8, Int32, MaxPool, Plan, UInt8

FIELDS = (
    "kind", "image",
    "in", "in_image", "in_rows", "in_columns", "in_segments", "in_groups", "blocks",
    "kernel_rows", "kernel_columns", "stride_rows", "stride_columns", "stride_inverse", "pad_top", "pad_left", "pads",
    "rows", "columns", "segments", "tiles",
    "weights", "parameters",
    "residual", "residual_image",
    "pool", "pool_rows", "pool_columns", "pool_stride_rows", "pool_stride_columns", "pool_top", "pool_left",
    "out", "out_image", "out_rows", "out_columns", "out_segments",
)  # fmt: skip
WEIGHTS = "int8 [out / LANES][kernel row][column][in / VEC][LANES][VEC]"  # as the manifest of the kernels calls it
STEP = np.dtype([(name, np.int32) for name in FIELDS])
_LOAD, _CONVOLUTION, _DENSE = range(3)
_NO_POOL, _MAX_POOL, _AVERAGE_POOL = range(3)
_PARAMETERS = 5  # tensors of LANES values that a tile has, see parameters_t


@dataclass(frozen=True, eq=False)
class Program:
    """`steps` [STEP] with the stage of each, None where images are loaded; `weights` int8 [words, lanes, vec];
    `parameters` int32 [tiles, 5, lanes], of which two are floats; `pads` uint8 [blocks, vec]."""

    engine: Engine
    group: int
    stages: tuple[Stage, ...]
    layout: Layout
    steps: npt.NDArray[Any]
    stage_of_step: tuple[int | None, ...]
    weights: Int8
    parameters: Int32
    pads: UInt8


def program(plan: Plan, engine: Engine, group: int) -> Program:
    """The program for up to `group` images at once; raises UnsupportedNetwork."""
    found = stages(plan, engine)
    places = layout(found, engine, group)
    rows = [_row(stage, engine, places) for stage in found]
    for column, of in (("weights", _weight_words), ("parameters", Stage.tiles), ("pads", _blocks)):
        at = 0
        for row, stage in zip(rows, found, strict=True):
            row[column] = at
            at += of(stage, engine)
    ordered = list(_in_order(rows, found, engine, places, group))
    return Program(
        engine,
        group,
        tuple(found),
        places,
        np.array([tuple(row[name] for name in FIELDS) for _, row in ordered], STEP),
        tuple(number for number, _ in ordered),
        np.concatenate([_packed(stage, engine) for stage in found]),
        np.concatenate([_parameters(stage, engine) for stage in found]),
        np.concatenate([_filled(stage.pads, engine.vec).reshape(-1, engine.vec) for stage in found]),
    )


def _weight_words(stage: Stage, engine: Engine) -> int:
    return stage.tiles(engine) * stage.beats(engine)


def _blocks(stage: Stage, engine: Engine) -> int:
    return -(-stage.input[2] // engine.vec)


def _in_order(
    rows: Sequence[dict[str, int]], found: Sequence[Stage], engine: Engine, places: Layout, group: int
) -> Iterator[tuple[int | None, dict[str, int]]]:
    for image in range(group):
        yield None, _load(found[0], engine, places, image)
        for number in range(places.split):
            row = rows[number]
            moved = {
                of: row[of] + image * row[step]
                for of, step in (("in", "in_image"), ("out", "out_image"), ("residual", "residual_image"))
                if row[of] >= 0
            }
            yield number, {**row, **moved, "image": image}
    for number in range(places.split, len(rows)):
        yield number, rows[number]


def _load(first: Stage, engine: Engine, places: Layout, image: int) -> dict[str, int]:
    rows, columns, _ = first.input
    return {
        **dict.fromkeys(FIELDS, 0),
        "kind": _LOAD,
        "image": image,
        "rows": rows,
        "segments": -(-columns // engine.pix),
        "blocks": _blocks(first, engine),
        "residual": -1,
        "out": places.place[first.source] + image * places.step[first.source],
    }


def _row(stage: Stage, engine: Engine, places: Layout) -> dict[str, int]:
    rows, columns, channels = stage.input
    row = dict.fromkeys(FIELDS, 0) | {
        "kind": _DENSE if isinstance(stage.layer, Dense) else _CONVOLUTION,
        "image": -1,
        "in": places.place[stage.source],
        "in_image": places.step[stage.source],
        "in_rows": rows,
        "in_columns": columns,
        "in_segments": -(-columns // engine.pix),
        "in_groups": -(-channels // engine.lanes),
        "blocks": _blocks(stage, engine),
        "kernel_rows": stage.weights.shape[1],
        "kernel_columns": stage.weights.shape[2],
        "stride_rows": stage.stride[0],
        "stride_columns": stage.stride[1],
        "stride_inverse": pow(stage.stride[1], -1, engine.pix) if engine.pix > 1 else 0,
        "pad_top": stage.padding[0],
        "pad_left": stage.padding[1],
        "rows": stage.sums[0],
        "columns": stage.sums[1],
        "segments": stage.segments(engine),
        "tiles": stage.tiles(engine),
        "residual": -1,
        "out_rows": stage.stored[0],
        "out_columns": stage.stored[1],
        "out_segments": -(-stage.stored[1] // engine.pix),
    }
    if stage.residual is not None:
        row |= {"residual": places.place[stage.residual], "residual_image": places.step[stage.residual]}
    if not isinstance(stage.layer, Dense):
        row |= {"out": places.place[stage.output], "out_image": places.step[stage.output]}
    if isinstance(stage.pool, GlobalAveragePool):
        row["pool"] = _AVERAGE_POOL
    if isinstance(stage.pool, MaxPool):
        row["pool"] = _MAX_POOL
        row["pool_rows"], row["pool_columns"] = stage.pool.kernel
        row["pool_stride_rows"], row["pool_stride_columns"] = stage.pool.stride
        row["pool_top"], row["pool_left"] = stage.pool.padding[:2]
    return row


def _filled(values: npt.NDArray[Any], size: int, axis: int = 0) -> npt.NDArray[Any]:
    """With zeros behind, up to a multiple of `size` along an axis."""
    widths = [(0, 0)] * values.ndim
    widths[axis] = (0, -values.shape[axis] % size)
    return np.pad(values, widths)


def _packed(stage: Stage, engine: Engine) -> Int8:
    """int8 [tile, row, column, block][lanes][vec] as words."""
    filled = _filled(_filled(stage.weights, engine.lanes), engine.vec, 3)
    out, rows, columns, channels = filled.shape
    words = filled.reshape(out // engine.lanes, engine.lanes, rows, columns, channels // engine.vec, engine.vec)
    return np.ascontiguousarray(words.transpose(0, 2, 3, 4, 1, 5)).reshape(-1, engine.lanes, engine.vec)


def _parameters(stage: Stage, engine: Engine) -> Int32:
    layer = stage.layer
    nothing = np.zeros(stage.sums[2], np.int32)
    residual, zero_point, average = nothing, nothing, nothing
    if isinstance(layer, Convolution):
        zero_point = layer.zero_point.astype(np.int32)
        if layer.residual_multiplier is not None:
            residual = layer.residual_multiplier
    if isinstance(stage.pool, GlobalAveragePool):
        average = stage.pool.multiplier.view(np.int32)
    tensors = (layer.bias, layer.multiplier.view(np.int32), residual, zero_point, average)
    stacked = np.stack([_filled(one, engine.lanes) for one in tensors])
    return np.ascontiguousarray(stacked.reshape(_PARAMETERS, -1, engine.lanes).transpose(1, 0, 2))
