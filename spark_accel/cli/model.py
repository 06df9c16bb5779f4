"""`spark-accel model …`: import a network, install a model made elsewhere, list, show, remove, load, unload.

Works on the repository's folder, but for `load` and `unload`, which a running daemon does. It unloads a removed model.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from spark_accel.cli import tables
from spark_accel.cli.daemon import Device, Repository, Socket, chosen_settings
from spark_accel.errors import ModelError

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A model of the repository.")]


def register(app: typer.Typer) -> None:
    """Adds the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="Import, install, list, show, remove, load and unload models.")
    app.add_typer(group, name="model")
    group.command("import")(_import)
    group.command("install")(_install)
    group.command("list")(_list)
    group.command("show")(_show)
    group.command("remove")(_remove)
    group.command("load")(_load)
    group.command("unload")(_unload)


def _import(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="The network: .onnx, or a model saved by Keras (.keras)."),
    ] = None,
    keras: Annotated[
        str | None, typer.Option(help="Instead of a file: Keras' ImageNet weights of resnet50, resnet101 or resnet152.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name; default: the file's, or --keras.")] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Folder of typical images; at most 64 are used. Default: the bundled photographs."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Keras' class-index JSON, or a text file with one label a line.")
    ] = None,
    preprocessing: Annotated[
        str | None, typer.Option(help="torch, caffe, tf or none. Default: torch for ONNX, caffe for Keras.")
    ] = None,
    resize: Annotated[int | None, typer.Option(help="Pixels of the shorter side before the crop; 256 for 224.")] = None,
    crop: Annotated[int | None, typer.Option(help="Pixels of the network's side; default: what the file says.")] = None,
    socket: Socket = None,
    repository: Repository = None,
    device: Device = None,
) -> None:
    """Quantise a ResNet to int8 and put it into the model repository, as the next version of NAME."""
    from spark_accel import model_store  # noqa: PLC0415 - each command loads only what it needs
    from spark_accel.networks import importer  # noqa: PLC0415

    chosen = chosen_settings(socket, repository, device)
    if (file is None) == (keras is None):
        raise ModelError("give either a network's FILE or --keras NAME: `spark-accel model import --help`")
    chosen_name = name or (file.stem if file is not None else str(keras))
    model_store.check_free(chosen_name)
    folder = importer.import_model(
        file if file is not None else str(keras),
        chosen_name,
        chosen.repository,
        calibration=calibration,
        labels=labels,
        preprocessing=preprocessing,
        resize=resize,
        crop=crop,
        progress=True,
    )
    print(f"model '{folder.parent.name}', version {folder.name}, is in {chosen.repository}")


def _install(
    source: Annotated[Path, typer.Argument(help="A model's folder, or a .zip, .tar or .tar.gz of one.")],
    socket: Socket = None,
    repository: Repository = None,
    device: Device = None,
) -> None:
    """Put a model that was quantised elsewhere, or a kernel of your own, into the repository, after checking it."""
    from spark_accel import installation  # noqa: PLC0415

    chosen = chosen_settings(socket, repository, device)
    print(f"model '{installation.install(source, chosen.repository)}' is in {chosen.repository}")


def _list(socket: Socket = None, repository: Repository = None, device: Device = None, as_json: AsJson = False) -> None:
    """Print the models of the repository. What is built in (docs/estimator-kernels.md) is not in it."""
    from spark_accel import model_store  # noqa: PLC0415

    found = model_store.models(chosen_settings(socket, repository, device).repository)
    if as_json:
        print(json.dumps([asdict(model) for model in found]))
        return
    from rich.table import Column, Table  # noqa: PLC0415

    table = Table(Column("name", overflow="fold"), "versions", "classes", "size", "source", "problem")
    for model in found:
        versions = ", ".join(map(str, model.versions))
        size, source = tables.size(model.size), model.parameters.get("source", "")
        table.add_row(model.name, versions, str(model.classes or ""), size, source, model.problem)
    tables.show(table)


def _show(
    name: Name,
    socket: Socket = None,
    repository: Repository = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Print what is known of a model: classes, source, preprocessing, calibration, size."""
    from spark_accel import model_store  # noqa: PLC0415

    model = model_store.facts(chosen_settings(socket, repository, device).repository, name)
    if as_json:
        print(json.dumps(asdict(model)))
        return
    facts = {key: value for key, value in asdict(model).items() if value and key != "parameters"} | model.parameters
    width = max(map(len, facts))
    for key, value in facts.items():
        print(f"{key:{width}}  {', '.join(map(str, value)) if isinstance(value, tuple) else value}")


def _remove(name: Name, socket: Socket = None, repository: Repository = None, device: Device = None) -> None:
    """Delete a model with all its versions, and unload it from the daemon if one runs."""
    from spark_accel import daemon_status, endpoint, model_store  # noqa: PLC0415

    chosen = chosen_settings(socket, repository, device)
    model_store.remove(chosen.repository, name)
    unloaded = endpoint.answers(chosen.daemon_socket) and daemon_status.unload(chosen, name)
    print(f"model '{name}' is removed from {chosen.repository}{' and unloaded' if unloaded else ''}")


def _load(name: Name, socket: Socket = None) -> None:
    """Have the running daemon load a model, be it a network, a bitstream or a kernel; anew if it has changed."""
    from spark_accel import daemon_status  # noqa: PLC0415

    versions = daemon_status.load(chosen_settings(socket, None, None), name)
    print(f"model '{name}' is loaded: version {', '.join(map(str, versions))}")


def _unload(name: Name, socket: Socket = None) -> None:
    """Have the running daemon unload a model; what runs on a bitstream goes on."""
    from spark_accel import daemon_status  # noqa: PLC0415

    if not daemon_status.unload(chosen_settings(socket, None, None), name):
        raise ModelError(f"model '{name}' is not loaded; `spark-accel status` has what is")
    print(f"model '{name}' is unloaded")
