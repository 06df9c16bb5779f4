"""An estimate for people and as JSON. Every figure of it is predicted, and says so."""

from dataclasses import asdict, replace
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from spark_accel.fpga.boards import Board
from spark_accel.fpga.estimate import BATCH, FILL, MEMORY_EFFICIENCY, MOST_DSPS, MOST_MEMORY, Estimate

_PIPED_WIDTH = 150
ASSUMPTIONS = (
    "Every figure is predicted, by calculation; no board has been measured. Trips of the loops are those that the"
    f" kernels count on the emulator. Assumed: a cycle a trip, the clock, {MEMORY_EFFICIENCY:.0%} of the external"
    f" memory's peak, {FILL} cycles a layer to fill the stages; designs fit up to {MOST_DSPS:.0%} of the DSPs and"
    f" {MOST_MEMORY:.0%} of the on-chip memory, in which channels are not counted."
)


def facts(network: str, found: Estimate) -> dict[str, Any]:
    """All figures, for JSON."""
    return {
        "predicted": True,
        "network": network,
        "board": asdict(found.board),
        "design": asdict(found.design),
        "macros": macros(found),
        "layers": [asdict(layer) for layer in found.layers],
        "images_per_second": found.images_per_second,
        "batch": BATCH,
        "latency_ms": found.latency_ms,
        "images_per_second_and_rated_watt": found.images_per_second_and_watt,
        "efficiency": found.efficiency,
        "multipliers": found.design.engines * found.design.engine.products,
        "dsps": found.dsps,
        "dsp_share": found.dsp_share,
        "memory_share": found.memory_share,
        "external_gb_s": found.external_gb_s,
        "external_share": found.external_share,
        "host_gb_s": found.host_gb_s,
        "host_share": found.host_share,
    }


def show(network: str, found: Estimate) -> None:
    """Prints the layers and what they come to."""
    console = Console()
    console = console if console.is_terminal else Console(width=_PIPED_WIDTH)
    for table in (_layers(network, found), _summary(network, found)):
        console.print(table)
    many = found.design.engines
    what = "it" if many == 1 else f"one of the {many} engines (a bitstream has just one)"
    console.print(f"To build {what}:", markup=False, highlight=False)
    console.print(build_command(found), markup=False, highlight=False, soft_wrap=True, end="\n\n")  # one line, to copy
    console.print(ASSUMPTIONS, markup=False, highlight=False)


def macros(found: Estimate) -> dict[str, int]:
    """Those that one of the design's engines is built with; the depths of channels are up to the target."""
    return {**replace(found.design.engine, words=found.layout.words).defines, "GROUP": found.design.group}


def build_command(found: Estimate) -> str:
    """The command line that builds one of the design's engines."""
    target = "xilinx:PLATFORM" if found.board.toolchain.startswith("v++") else "intel:BOARD"
    defines = " ".join(f"--define {name}={value}" for name, value in macros(found).items())
    return f"spark-accel kernels build --target {target} {defines}"


def design_text(found: Estimate) -> str:
    """`4 x (16 x 64 x 7), drain 1, groups of 8, 300 MHz`."""
    design = found.design
    return (
        f"{design.engines} x ({design.engine}), drain {design.engine.drain}, groups of {design.group},"
        f" {design.clock_mhz:g} MHz"
    )


def _layers(network: str, found: Estimate) -> Table:
    title = f"{network} on {found.board.title}: {design_text(found)}"
    table = Table("layer", title=escape(title), title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("GMAC", "fed, trips", "summed, trips", "cycles, predicted", "array in use", "weights, KB", "waits"):
        table.add_column(column, justify="right")
    for layer in found.layers:
        used = layer.products / (layer.cycles * found.design.engine.products)
        table.add_row(
            escape(layer.name),
            f"{layer.products / 1e9:.3f}",
            f"{layer.fed:,}",
            f"{layer.summed:,}",
            f"{layer.cycles:,}",
            f"{used:.0%}",
            f"{layer.weight_bytes / 1e3:,.0f}",
            f"{layer.waiting:,.0f}" if layer.waiting else "",
        )
    return table


def _summary(network: str, found: Estimate) -> Table:
    board, design = found.board, found.design
    table = Table("predicted", title=escape(f"{network} on {board.title}"), title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("figure", "the board has", "share"):
        table.add_column(column, justify="right")
    per_watt = f"{found.images_per_second_and_watt:.1f}"
    products = design.engines * design.engine.products
    external = f"{found.external_share:.0%}"
    memory = f"external memory, GB/s; share of {MEMORY_EFFICIENCY:.0%} of the peak"
    rows = [
        (f"images/s at batch {BATCH}", f"{found.images_per_second:,.0f}", "", ""),
        ("latency of one image, ms", f"{found.latency_ms:.2f}", "", ""),
        ("images/s a rated watt", per_watt, f"{board.watts:g} W", ""),
        ("useful products of the array's", f"{found.efficiency:.1%}", "", ""),
        ("multipliers (8 bits)", f"{products:,}", f"{board.dsps * board.products_per_dsp:,}", ""),
        (escape(f"DSPs ({board.packing})"), f"{found.dsps:,}", f"{board.dsps:,}", f"{found.dsp_share:.0%}"),
        ("on-chip memory, of the kind used most", "", escape(", ".join(_size(board))), f"{found.memory_share:.0%}"),
        (memory, f"{found.external_gb_s:.1f}", f"{board.memory_gb_s:g}", external),
        ("from the host, GB/s", f"{found.host_gb_s:.2f}", f"{board.host_gb_s:g}", f"{found.host_share:.0%}"),
    ]  # fmt: skip
    for row in rows:
        table.add_row(*row)
    return table


def _size(board: Board) -> list[str]:
    return [f"{one.blocks:,} {one.name}" for one in board.memories]
