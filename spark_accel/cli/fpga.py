"""`spark-accel fpga …`: what the network engine would do on an FPGA board, by calculation."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spark_accel.cli.daemon import Repository

if TYPE_CHECKING:
    from spark_accel.networks.plan import Plan


def register(app: typer.Typer) -> None:
    """Adds the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="Predict what a network does on an FPGA board; nothing is measured.")
    app.add_typer(group, name="fpga")
    group.command("estimate")(_estimate)
    group.command("boards")(_boards)


def _estimate(
    network: Annotated[
        str, typer.Option(help="resnet50, resnet101, resnet152, each also with -v1.5, or a model of the repository.")
    ] = "resnet50",
    board: Annotated[
        str,
        typer.Option(
            help="arria10, stratix10, agilex, alveo-u250, alveo-u280, or a JSON file like one entry of boards.json."
        ),
    ] = "stratix10",
    vec: Annotated[int | None, typer.Option(help="Input channels a cycle; default: what is fastest.", min=1)] = None,
    lanes: Annotated[int | None, typer.Option(help="Output channels a cycle; default: what is fastest.", min=1)] = None,
    clock: Annotated[float | None, typer.Option(help="MHz; default: the board's entry, an assumption.")] = None,
    batch: Annotated[int, typer.Option(help="Look for what is fastest at this batch: 1 or 128.")] = 128,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    repository: Repository = None,
) -> None:
    """Predict cycles a layer, images/s and latency, and what of the board's limits that takes."""
    from spark_accel.errors import ConfigurationError  # noqa: PLC0415 - each command loads only what it needs
    from spark_accel.fpga import boards, report, search  # noqa: PLC0415

    if batch not in (1, 128):
        raise ConfigurationError(f"--batch is {batch}: expected 1 (shortest latency) or 128 (most images/s)")
    if clock is not None and not 1 <= clock <= 2000:
        raise ConfigurationError(f"--clock is {clock:g}: expected MHz from 1 to 2000")
    plan = _plan(network, repository)
    found = search.fastest(plan, boards.board(board), vec=vec, lanes=lanes, clock_mhz=clock, batch=batch)
    if as_json:
        print(json.dumps(report.facts(network, found)))
    else:
        report.show(network, found)


def _boards(
    markdown_file: Annotated[Path | None, typer.Option("--markdown", help="Write the page of the docs.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether --markdown is what the model predicts.")
    ] = False,
) -> None:
    """Predict ResNet50 on every known board, beside published engines."""
    from spark_accel.errors import ConfigurationError  # noqa: PLC0415 - each command loads only what it needs
    from spark_accel.fpga import board_page  # noqa: PLC0415

    if check and markdown_file is None:
        raise ConfigurationError("--check needs --markdown FILE: the page that is to be what the model predicts")
    text = board_page.page()
    if markdown_file is None:
        print(text, end="")
        return
    try:
        if not check:
            markdown_file.write_text(text, encoding="utf-8")
        elif not markdown_file.is_file() or markdown_file.read_bytes() != text.encode():
            raise ConfigurationError(f"{markdown_file} is not what the model predicts: run `make docs`")
    except OSError as error:
        raise ConfigurationError(f"--markdown {markdown_file}: {error.strerror or error}") from error


def _plan(name: str, repository: str | None) -> "Plan":
    from spark_accel import model_store, settings  # noqa: PLC0415 - each command loads only what it needs
    from spark_accel.errors import ModelError  # noqa: PLC0415
    from spark_accel.fpga import resnets  # noqa: PLC0415
    from spark_accel.networks import plan  # noqa: PLC0415

    if name in resnets.NAMES:
        return resnets.plan(name)
    folder = settings.override(settings.from_environment(), repository=repository).repository
    try:
        facts = model_store.facts(folder, name)
    except ModelError as error:
        raise ModelError(f"{error}; without weights there are {', '.join(resnets.NAMES)}") from None
    if facts.backend not in ("", "network"):
        raise ModelError(f"model '{name}' is no network: its backend is '{facts.backend}'")
    return plan.load(folder / name / str(max(facts.versions, default=1)))
