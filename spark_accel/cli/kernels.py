"""`spark-accel kernels …`: FPGA bitstreams of the project's kernels, made, installed and listed."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from spark_accel.cli import tables
from spark_accel.cli.daemon import Repository

Family = Annotated[str, typer.Option(help="Which kernels: network, kmeans, logistic or naive_bayes.")]
Name = Annotated[str, typer.Option(help="The model that it becomes; default: FAMILY-bitstream.")]
Define = Annotated[list[str], typer.Option("--define", help="A macro of the kernels, such as LANES=64; repeatable.")]
Clock = Annotated[float, typer.Option(help="MHz that the compiler reached, or should aim at.")]

_DIGITS = 10  # of the largest number that a macro may be


def register(app: typer.Typer) -> None:
    """Adds the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="Build, install and list FPGA bitstreams.")
    app.add_typer(group, name="kernels")
    group.command("build")(_build)
    group.command("install")(_install)
    group.command("list")(_list)


def _build(
    target: Annotated[str, typer.Option(help="emulator, intel:BOARD or xilinx:PLATFORM.")],
    family: Family = "network",
    name: Name = "",
    define: Define = [],  # noqa: B006 - typer's way
    clock: Clock = 0.0,
    repository: Repository = None,
) -> None:
    """Compile kernels for an FPGA and put the bitstream into the model repository, as the next version of NAME.

    Where the vendor's compiler is missing the exact commands are printed. Untested on boards.
    """
    from spark_accel.fpga import builder  # noqa: PLC0415 - each command loads only what it needs

    chosen = builder.tier(family, _defines(define), target)
    facts = builder.facts_of(family, chosen, target.partition(":")[2] or target, clock)
    folder = _repository(repository)
    try:
        version = builder.build(target, facts, chosen, name or f"{family}-bitstream", folder)
    except builder.ToolchainMissing as missing:
        for line in missing.lines:
            print(line)
        raise
    print(f"bitstream '{version.parent.name}', version {version.name}, is in {folder}")


def _install(
    file: Annotated[Path, typer.Argument(help="A bitstream: .aocx, .xclbin.", exists=True, dir_okay=False)],
    board: Annotated[str, typer.Option(help="The board's OpenCL device name, as `spark-accel devices` prints it.")],
    family: Family = "network",
    name: Name = "",
    define: Define = [],  # noqa: B006 - typer's way
    clock: Clock = 0.0,
    repository: Repository = None,
) -> None:
    """Put a bitstream that was built elsewhere into the model repository, as the next version of NAME."""
    from spark_accel.fpga import builder  # noqa: PLC0415 - each command loads only what it needs

    facts = builder.facts_of(family, builder.tier(family, _defines(define), board), board, clock)
    folder = _repository(repository)
    version = builder.install(builder.artifact(file), facts, name or f"{family}-bitstream", folder)
    print(f"bitstream '{version.parent.name}', version {version.name}, is in {folder}")


def _list(
    repository: Repository = None, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Print the bitstreams of the repository: board, clock, kernels, size, checksum."""
    from rich.table import Table  # noqa: PLC0415

    rows = _bitstreams(_repository(repository))
    if as_json:
        print(json.dumps(rows))
        return
    table = Table("name", "version", "board", "MHz", "kernels", "macros", "size", "SHA-256", "problem")
    for row in rows:
        table.add_row(
            row["name"],
            str(row["version"]),
            row.get("board", ""),
            f"{row['clock_mhz']:g}" if row.get("clock_mhz") else "",
            ", ".join(row.get("kernels", ())),
            " ".join(f"{key}={value}" for key, value in row.get("defines", {}).items()),
            tables.size(row["size"]) if "size" in row else "",
            row.get("sha256", "")[:12],
            row.get("problem", ""),
        )
    tables.show(table)


def _bitstreams(repository: Path) -> list[dict[str, Any]]:
    from dataclasses import asdict  # noqa: PLC0415

    from spark_accel import model_store  # noqa: PLC0415
    from spark_accel.errors import ModelError  # noqa: PLC0415
    from spark_accel.fpga import bitstream  # noqa: PLC0415

    rows: list[dict[str, Any]] = []
    for model in model_store.models(repository):
        for version in model.versions if model.backend == bitstream.BACKEND else ():
            row: dict[str, Any] = {"name": model.name, "version": version}
            folder = repository / model.name / str(version)
            try:
                facts = bitstream.read(folder)
                row |= asdict(facts)
                bitstream.binary(folder, facts)
            except ModelError as error:
                row["problem"] = str(error)
            rows.append(row)
    return rows


def _defines(given: list[str]) -> dict[str, int]:
    from spark_accel.errors import ConfigurationError  # noqa: PLC0415

    found = {}
    for text in given:
        name, _, value = text.partition("=")
        if not (value.isascii() and value.isdigit() and len(value) <= _DIGITS and int(value)):
            raise ConfigurationError(f"--define is '{text}': expected NAME=NUMBER, such as LANES=64")
        found[name] = int(value)
    return found


def _repository(given: str | None) -> Path:
    from spark_accel import settings  # noqa: PLC0415

    return settings.override(settings.from_environment(), repository=given).repository
