"""`spark-accel bench …`: measures ours and what a user would take instead, in turn; makes pages of results."""

import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spark_accel.bench.suite import BENCHES
from spark_accel.cli.daemon import Device, Repository

if TYPE_CHECKING:
    from spark_accel.bench.options import Options

_INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    """Adds the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="Measure, side by side with what one would use instead.")
    app.add_typer(group, name="bench")
    for name, bench in BENCHES.items():
        group.command(name, help=f"Measure {bench.what}.")(_command((name,)))
    group.command("all", help="Measure everything, one after the other.")(_command(tuple(BENCHES)))
    group.command("report")(_report)


def _command(names: tuple[str, ...]) -> Callable[..., None]:
    known = tuple(dict.fromkeys(peer for name in names for peer in BENCHES[name].peers))

    def of_some(name: str, text: str) -> Any:  # noqa: ANN401 - typer's own
        return typer.Option(f"--{name}", help=text, hidden=not any(name in BENCHES[one].takes for one in names))

    def bench(
        context: typer.Context,
        peers: Annotated[
            str | None,
            typer.Option(
                help=f"Some of {', '.join(known)} with commas between, or none; default: all that are installed."
            ),
        ] = None,
        images: Annotated[str, of_some("images", "Folder of photographs; default: the package's own.")] = "",
        model: Annotated[
            str,
            of_some(
                "model", "An ONNX file, normalised as torch does it, or a model; default: ResNet50, random weights."
            ),
        ] = "",
        labels: Annotated[
            str, of_some("labels", "CSV with the columns file (in --images) and class_index, for top-1.")
        ] = "",
        rounds: Annotated[int, typer.Option(help="How often the contenders take turns.")] = 5,
        seconds: Annotated[float, of_some("seconds", "The least time of a turn of resnet50 and daemon.")] = 2.0,
        batches: Annotated[str, of_some("batches", "Batches of the bench resnet50.")] = "1,8,16,32,128",
        threads: Annotated[int, typer.Option(help="Threads and cores of each; 0: all.")] = 0,
        rows: Annotated[int, of_some("rows", "Images of spark's long run; 0 leaves it out.")] = 20_000,
        scale: Annotated[float, of_some("scale", "Multiplies the rows of estimators and of spark's turns.")] = 1.0,
        watts: Annotated[float, of_some("watts", "Nominal power, where no sensor can be read (resnet50).")] = 0.0,
        price_per_hour: Annotated[
            float, of_some("price-per-hour", "Dollars an hour, for images per dollar (resnet50).")
        ] = 0.0,
        profile: Annotated[bool, of_some("profile", "Print the time of each layer of the network (resnet50).")] = False,
        json_file: Annotated[
            Path | None, typer.Option("--json", help="Write everything measured to this file.")
        ] = None,
        html_file: Annotated[Path | None, typer.Option("--html", help="Write a page with tables and plots.")] = None,
        repository: Repository = None,
        device: Device = None,
    ) -> None:
        from spark_accel import settings  # noqa: PLC0415 - each command loads only what it needs
        from spark_accel.bench import options  # noqa: PLC0415
        from spark_accel.bench import peers as peer_table  # noqa: PLC0415

        _refuse_what_is_not_taken(context, names)
        chosen = settings.override(settings.from_environment(), repository=repository, device=device)
        given = {"threads": threads} if threads else {}
        asked = options.Options(
            peers=peer_table.chosen(peers, known), images=images, model=model, labels=labels, rounds=rounds,
            seconds=seconds, batches=_numbers(batches), watts=watts, price_per_hour=price_per_hour, rows=rows,
            scale=scale, settings=chosen.environment(), **given,
        ).checked()  # fmt: skip
        _run(names, asked, profile, json_file, html_file)

    return bench


def _refuse_what_is_not_taken(context: typer.Context, names: tuple[str, ...]) -> None:
    """Raises ConfigurationError for an option on the command line that decides nothing in any of these benches."""
    from spark_accel.errors import ConfigurationError  # noqa: PLC0415

    takers: dict[str, list[str]] = {}
    for name, bench in BENCHES.items():
        for option in bench.takes:
            takers.setdefault(option, []).append(name)
    for option, benches in takers.items():
        source = context.get_parameter_source(option.replace("-", "_"))
        if source is not None and source.name == "COMMANDLINE" and not set(benches) & set(names):
            raise ConfigurationError(
                f"--{option} decides nothing in the bench {', '.join(names)}: those that take it are"
                f" {', '.join(benches)} and all"
            )


def _numbers(text: str) -> tuple[int, ...]:
    from spark_accel.errors import ConfigurationError  # noqa: PLC0415

    try:
        found = tuple(sorted({int(one) for one in text.split(",")}))
        if found[0] < 1:
            raise ValueError
        return found
    except ValueError:
        raise ConfigurationError(f"--batches is '{text}': expected numbers from 1 on, such as 1,8,32") from None


def _run(
    names: tuple[str, ...], asked: "Options", profile: bool, json_file: Path | None, html_file: Path | None
) -> None:
    from spark_accel.bench import machine, output, results, suite, terminal  # noqa: PLC0415
    from spark_accel.errors import AccelError, ConfigurationError  # noqa: PLC0415

    output.check_distinct(filter(None, (json_file, html_file)))
    for file in filter(None, (json_file, html_file)):
        output.check_writable(file)
    if html_file is not None:
        _page_module()
    signal.signal(signal.SIGTERM, _interrupt)
    shown = asked.shown({one for name in names for one in BENCHES[name].takes})
    document = results.document(machine.facts(asked.threads) | {"options": shown}, {})
    benches, interrupted = document["benches"], False
    try:
        for name in names:
            suite.run(name, asked, benches)
            if json_file is not None:
                with suppress(ConfigurationError):  # it is tried once more at the end
                    results.write(document, json_file)
    except KeyboardInterrupt:
        interrupted = True
    problems = []
    if benches:  # what has been measured is not lost by what has not
        problems = _written(document, json_file, html_file)
        terminal.show(document, profile)
    failed = [name for name, result in benches.items() if "failed" in result]
    if failed:
        problems.append(f"failed: {', '.join(failed)}; the reasons are above")
    if interrupted:
        for problem in (*problems, "interrupted"):
            print(f"spark-accel: {problem}", file=sys.stderr)
        raise typer.Exit(_INTERRUPTED)
    if problems:
        raise AccelError("; ".join(problems))


def _written(document: dict[str, Any], json_file: Path | None, html_file: Path | None) -> list[str]:
    """Writes each, also where the other can't be written; gives what went wrong."""
    from spark_accel.bench import output, results  # noqa: PLC0415
    from spark_accel.errors import ConfigurationError  # noqa: PLC0415

    problems = []
    try:
        if json_file is not None:
            results.write(document, json_file)
    except ConfigurationError as error:
        problems.append(str(error))
    try:
        if html_file is not None:
            output.write(_page_module().page([(str(json_file or html_file), document)]), html_file)
    except ConfigurationError as error:
        problems.append(str(error))
    return problems


def _report(
    files: Annotated[list[Path], typer.Argument(help="Results of --json.", metavar="FILE...")],
    markdown_file: Annotated[Path | None, typer.Option("--markdown", help="Write a page in Markdown.")] = None,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write a page with tables and plots.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether --markdown is what the results say.")
    ] = False,
) -> None:
    """Make pages of results that were measured before; prints them without an option."""
    from spark_accel.bench import markdown, output, results, terminal  # noqa: PLC0415
    from spark_accel.errors import ConfigurationError  # noqa: PLC0415

    if check and markdown_file is None:
        raise ConfigurationError("--check needs --markdown FILE: the page that is to be what the results say")
    output.check_distinct([*dict.fromkeys(files), *filter(None, (markdown_file, html_file))])
    documents = []
    for file in files:
        document = results.read(file)
        with results.damage_named(file):
            markdown.page([(file.name, document)]).encode()
        documents.append((file.name, document))
    for page in (markdown_file, html_file):
        if page is not None and not check:
            output.check_writable(page)
    if markdown_file is not None:
        text = markdown.page(documents)
        if check:
            markdown.check(markdown_file, text)
        else:
            output.write(text, markdown_file)
    if html_file is not None and not check:
        with results.damage_named(*files):
            html = _page_module().page(documents)
        output.write(html, html_file)
    if markdown_file is None and html_file is None:
        for _, document in documents:
            terminal.show(document, layers=False)


def _page_module() -> ModuleType:
    from importlib import import_module  # noqa: PLC0415
    from importlib.util import find_spec  # noqa: PLC0415

    from spark_accel.errors import ConfigurationError  # noqa: PLC0415

    missing = [module for module in ("jinja2", "matplotlib") if find_spec(module) is None]
    if missing:
        raise ConfigurationError(f"--html needs {', '.join(missing)}: pip install 'spark-accel[bench]'")
    return import_module("spark_accel.bench.page")


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
