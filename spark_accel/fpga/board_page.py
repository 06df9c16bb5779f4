"""`docs/fpga-boards.md`: ResNet50 on every known board by the model, beside published engines."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from spark_accel.fpga import boards, resnets, search
from spark_accel.fpga.boards import Board
from spark_accel.fpga.estimate import BATCH, Estimate
from spark_accel.fpga.report import ASSUMPTIONS, design_text

SEED_IMAGES_PER_SECOND, SEED_LATENCY_MS = 2550, 1.9
_NETWORKS = {"resnet50": "v1 (Keras)", "resnet50-v1.5": "v1.5 (torchvision)"}
_PUBLISHED = Path(__file__).with_name("published.json")
_HEAD = """# ResNet50 on FPGA boards: predictions

<!-- made by `spark-accel fpga boards --markdown` (`make docs`); don't edit -->

**{assumptions}**

`spark-accel fpga estimate --network resnet50 --board stratix10` shows one board layer by layer,
[fpga-engine.md](fpga-engine.md) describes the engine.
"""


def page() -> str:
    """The page as Markdown."""
    known = [boards.board(name) for name in boards.names()]
    parts = (_HEAD.format(assumptions=ASSUMPTIONS), _boards(known), _reach(known), _changes(known), _published())
    return "".join(parts)


def _boards(known: Sequence[Board]) -> str:
    rows = []
    for board in known:
        for network, title in _NETWORKS.items():
            found = _fastest(network, board)
            one = _fastest(network, board, 1)
            rows.append(
                [
                    board.title,
                    title,
                    design_text(found),
                    f"{found.images_per_second:,.0f} (predicted)",
                    f"{one.latency_ms:.2f} (predicted; {one.design.engine}, drain {one.design.engine.drain})",
                    f"{found.dsp_share:.0%}",
                    f"{found.memory_share:.0%}",
                    f"{found.external_gb_s:.1f} of {board.memory_gb_s:g}",
                    f"{found.images_per_second_and_watt:.1f} (predicted; rated {board.watts:g} W)",
                ]
            )
    head = [
        "board", "ResNet50", "fastest design that fits", "images/s, batch 128", "ms, batch 1, by the design for it",
        "DSPs", "on-chip memory", "external GB/s", "images/s a rated watt",
    ]  # fmt: skip
    return "\n## The fastest design that fits each board\n\n" + _table(head, rows)


def _reach(known: Sequence[Board]) -> str:
    rows = []
    for board in known:
        found = _fastest("resnet50", board)
        one = _fastest("resnet50", board, 1)
        clock = board.clock_mhz * SEED_IMAGES_PER_SECOND / found.images_per_second
        rows.append(
            [
                board.title,
                _answer(found.images_per_second >= SEED_IMAGES_PER_SECOND, f"{found.images_per_second:,.0f}"),
                f"{clock:,.0f} MHz, or {SEED_IMAGES_PER_SECOND / found.images_per_second:.1f} such boards (predicted)",
                _answer(one.latency_ms <= SEED_LATENCY_MS, f"{one.latency_ms:.2f} ms"),
                board.toolchain,
            ]
        )
    head = [
        "board", f"{SEED_IMAGES_PER_SECOND:,} images/s on paper", "what it would take",
        f"{SEED_LATENCY_MS} ms on paper", "tool chain",
    ]  # fmt: skip
    text = (
        "\n## Who reaches 2,550 images/s and 1.9 ms on paper\n\nThe two figures are those that InAccel and RN50-PYNQ"
        " gave for an Alveo U250. ResNet50 v1, int8.\n\n"
    )
    return text + _table(head, rows)


def _changes(known: Sequence[Board]) -> str:
    rows = []
    for board in known:
        base = _fastest("resnet50", board)
        rows.append([board.title, "as above", design_text(base), f"{base.images_per_second:,.0f} (predicted)"])
        variants: list[tuple[str, Estimate | None]] = [
            ("one product a DSP (no packing)", _fastest("resnet50", replace(board, products_per_dsp=1))),
            ("Winograd F(2x2, 3x3), 12-bit operands", _fastest("resnet50", board, winograd=True)),
        ]
        if board.name == "stratix10":
            packed = replace(board, products_per_dsp=4)
            variants.append(("four products a DSP (RTL library, 7 ALMs or more each)", _fastest("resnet50", packed)))
        for title, found in variants:
            if found is not None:
                times = found.images_per_second / base.images_per_second
                figure = f"{found.images_per_second:,.0f} (predicted; {times:.2f} times)"
                rows.append(["", title, design_text(found), figure])
    head = ["board", "change", "fastest design", "images/s, batch 128"]
    text = (
        "\n## What packing and Winograd would change\n\nNeither is built into the kernels: packing is up to the"
        " compiler, and Winograd needs operands of 12 bits, of which fewer fit a DSP.\n\n"
    )
    return text + _table(head, rows)


@cache
def _fastest(network: str, board: Board, batch: int = BATCH, winograd: bool = False) -> Estimate:
    return search.fastest(resnets.plan(network), board, batch=batch, winograd=winograd)


def _published() -> str:
    found = json.loads(_PUBLISHED.read_text(encoding="utf-8"))
    keys = ("engine", "board", "precision", "images_s", "latency", "power", "note")
    head = ["engine", "board", "precision", "images/s", "latency", "power", "note"]
    rows = [[one[key] for key in keys] for one in found]
    return "\n## Published engines\n\nAs their authors report them; none was measured here.\n\n" + _table(head, rows)


def _answer(yes: bool, figure: str) -> str:
    return f"{'yes' if yes else 'no'}: {figure} (predicted)"


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
