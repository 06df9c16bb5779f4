"""Where activations lie in the engine's memory, and in which order its stages run for a group of images.

Stages before the `split` run image by image, the others for all images of a group at once, so that their weights, which
are most of a network's, are read once a group. Addresses are words, the same in each bank.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from spark_accel.fpga.engine import Engine
from spark_accel.fpga.stages import Shape, Stage, UnsupportedNetwork
from spark_accel.networks.plan import INPUT, Dense


@dataclass(frozen=True)
class Layout:
    """`place` is the first word of each activation, `step` the words of an image of it, 0 where all share a place."""

    split: int
    place: dict[str, int]
    step: dict[str, int]
    words: int  # that are used


def words_of(shape: Shape, engine: Engine) -> int:
    """Words of an activation (rows, columns, channels), in each bank."""
    rows, columns, channels = shape
    return rows * -(-columns // engine.pix) * -(-channels // engine.lanes)


def layout(stages: Sequence[Stage], engine: Engine, group: int) -> Layout:
    """The layout with the earliest split that fits; raises UnsupportedNetwork where even an image has no room."""
    least = None
    for split in range(len(stages)) if group > 1 else [0]:
        found = placed(stages, engine, group, split)
        if found.words <= engine.words:
            return found
        least = min(found.words, least or found.words)
    raise UnsupportedNetwork(
        f"activations of {least} words in each of {engine.pix} banks, the engine has room for {engine.words}:"
        f" build one with WORDS={least} or more"
    )


def placed(stages: Sequence[Stage], engine: Engine, group: int, split: int) -> Layout:
    """The layout with a given split, however many words it takes: first fit, the largest first."""
    sizes = {INPUT: words_of(stages[0].input, engine)}
    first, last = {INPUT: 0}, {INPUT: 0}
    for number, stage in enumerate(stages):
        for name in filter(None, (stage.source, stage.residual)):
            last[name] = number
        if not isinstance(stage.layer, Dense):
            sizes[stage.output] = words_of(stage.stored, engine)
            first[stage.output] = last[stage.output] = number
    step = {name: size if group > 1 and last[name] >= split else 0 for name, size in sizes.items()}
    # What the stages after the split read is there while those before it still run for the images that follow.
    first = {name: 0 if step[name] and number < split else number for name, number in first.items()}
    sizes = {name: size * (group if step[name] else 1) for name, size in sizes.items()}
    place: dict[str, int] = {}
    for name in sorted(sizes, key=lambda one: (-sizes[one], first[one])):
        others = sorted(
            (place[other], place[other] + sizes[other])
            for other in place
            if first[other] <= last[name] and first[name] <= last[other]
        )
        at = 0
        for start, end in others:
            if at + sizes[name] <= start:
                break
            at = max(at, end)
        place[name] = at
    return Layout(split, place, step, max(place[name] + sizes[name] for name in place))
