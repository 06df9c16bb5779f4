"""The model repository as a folder: what is in it, for people, and removing. Whether a daemon runs does not matter.

Installing is `installation.py`'s, making models `networks/importer.py`'s.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from spark_accel.daemon import builtin_models, model_config, model_folder
from spark_accel.daemon.model_folder import PollError
from spark_accel.errors import ModelError
from spark_accel.networks import staging
from spark_accel.own_kernels import definition


@dataclass(frozen=True)
class StoredModel:
    """A model of the repository, or a built-in one; sizes in bytes, `problem` says why it can't be used."""

    name: str
    versions: tuple[int, ...]
    backend: str
    classes: int
    size: int
    parameters: dict[str, str]  # what the importer noted: source, preprocessing, resize …
    problem: str = ""


def models(repository: Path) -> list[StoredModel]:
    """All models in a repository, sorted by name."""
    return [facts(repository, name) for name in model_folder.names(repository)]


def facts(repository: Path, name: str) -> StoredModel:
    """One model, which may be a built-in one; raises ModelError, with the nearest name, if it is not there."""
    names = model_folder.names(repository)
    built_in = builtin_models.folder(name)
    if name not in names and built_in is not None:
        return StoredModel(name, built_in.versions, built_in.config.backend, 0, 0, {"source": "built in"})
    if name not in names:
        nearest = difflib.get_close_matches(name, [*names, *builtin_models.names()], n=1)
        hint = f"nearest: '{nearest[0]}'" if nearest else f"it has {', '.join(names) or 'no models'}"
        raise ModelError(f"model '{name}' is not in the repository {repository}; {hint}")
    size = sum(file.stat().st_size for file in (repository / name).rglob("*") if file.is_file())
    try:
        found = model_folder.poll(repository, name)
    except PollError as error:
        return StoredModel(name, (), "", 0, size, {}, str(error))
    parameters = {key: value.string_value for key, value in sorted(found.config.parameters.items())}
    problem = "not used: a built-in model has this name" if built_in is not None else ""
    return StoredModel(name, found.versions, found.config.backend, _classes(found.config), size, parameters, problem)


def kernel(repository: Path, name: str) -> definition.Definition:
    """A user's kernel as its configuration defines it; raises ModelError if it is not there, no kernel, or at fault."""
    stored = facts(repository, name)
    if stored.problem:
        raise ModelError(f"model '{name}' in {repository} can't be used: {stored.problem}")
    if stored.backend != definition.BACKEND:
        raise ModelError(f"model '{name}' is no kernel of a user's: its backend is '{stored.backend}'")
    found = model_folder.poll(repository, name)
    return definition.of_config(model_config.complete(found.config, name, ()))


def check_free(name: str) -> None:
    """Raises ModelError for the name of a built-in model, in whose place no other is used."""
    if builtin_models.folder(name) is not None:
        raise ModelError(f"'{name}' is a built-in model; take another name")


def remove(repository: Path, name: str) -> None:
    """Deletes a model with all its versions; raises ModelError if it is not there or can't be deleted."""
    facts(repository, name)
    if not (repository / name).exists():
        raise ModelError(f"model '{name}' is built in: the repository {repository} has nothing to remove")
    with staging.staging(repository) as stage:
        (repository / name).rename(stage / name)  # out of sight in one step: nobody loads half a model


def _classes(config: ModelConfig) -> int:
    return next((int(one.dims[-1]) for one in config.output if one.name == "logits" and one.dims), 0)
