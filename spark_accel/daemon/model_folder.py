"""What lies in the model repository on disk, in Triton's layout: `NAME/config.pbtxt`, `NAME/VERSION/…`.

Only reads; which of it is loaded is `repository.py`'s. Names come from clients: none with parts of a path is looked up.
"""

import functools
import logging
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from grpc import StatusCode
from tritonclient.grpc.model_config_pb2 import ModelConfig

from spark_accel.daemon import model_config
from spark_accel.daemon.model_config import ConfigError
from spark_accel.daemon.request import RequestError

Fingerprint = tuple[tuple[str, int, int], ...]
"""Of a folder: path, time of change in ns and size of every file."""

_log = logging.getLogger(__name__)


class PollError(Exception):
    """A folder holds no model, or one whose configuration can't be read. The text is for the daemon's log."""


@dataclass(frozen=True)
class ModelFolder:
    """A model's folder: its configuration as written, its version folders, and a print that changes with any file."""

    path: Path
    config: ModelConfig
    versions: tuple[int, ...]
    fingerprint: Fingerprint

    def version(self, number: int) -> Path:
        """The folder of a version."""
        return self.path / str(number)


def check_name(name: str) -> None:
    """Raises RequestError for a name that could lead out of the repository."""
    if not name:
        raise RequestError(StatusCode.INVALID_ARGUMENT, "Model name cannot be empty.")
    if name in (".", "..") or any(part in name for part in ("/", "\\", "\0")):
        text = f"invalid model name '{name}', model name must not contain path traversal characters"
        raise RequestError(StatusCode.INVALID_ARGUMENT, text)


def names(repository: Path) -> list[str]:
    """The models that have a folder, sorted; none where the repository itself is missing.

    A folder whose name is not UTF-8 is none: no message can hold it.
    """
    try:
        entries = list(repository.iterdir())
    except OSError:
        return []
    seen = (entry for entry in entries if entry.name[0] != ".")
    return sorted(entry.name for entry in seen if _is_folder(entry) and _is_text(entry.name))


def poll(repository: Path, name: str) -> ModelFolder:
    """Reads a model's folder; `name` has passed `check_name`. Raises PollError."""
    path = repository / name
    try:
        if not path.is_dir():
            raise PollError(f"{path} is no folder")
        config = model_config.read(path)
        versions = tuple(sorted(int(entry.name) for entry in path.iterdir() if _is_version(entry)))
        return ModelFolder(path, config, versions, fingerprint(path))
    except (OSError, ConfigError) as error:
        raise PollError(str(error)) from None


def fingerprint(folder: Path) -> Fingerprint:
    """What changes with any file in a folder; empty where there is none. Raises OSError."""
    files = ((str(file.relative_to(folder)), _facts(file)) for file in folder.rglob("*"))
    return tuple(sorted((file, facts.st_mtime_ns, facts.st_size) for file, facts in files))


def served(config: ModelConfig, versions: Collection[int]) -> list[int]:
    """The versions that a completed configuration's version policy serves, sorted."""
    policy = config.version_policy
    if policy.HasField("all"):
        return sorted(versions)
    if policy.HasField("specific"):
        return sorted(set(policy.specific.versions).intersection(versions))
    return sorted(versions)[-max(1, policy.latest.num_versions) :]


@functools.cache  # so that the log has it once
def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        _log.warning("%a in the model repository is no model: its name is not UTF-8; rename the folder", name)
        return False
    return True


def _facts(file: Path) -> os.stat_result:
    return file.stat() if file.exists() else file.lstat()  # a link to nothing


def _is_folder(entry: Path) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads where nobody may look
        return False


def _is_version(entry: Path) -> bool:
    name = entry.name
    return name.isascii() and name.isdigit() and name[0] != "0" and len(name) <= 18 and entry.is_dir()
