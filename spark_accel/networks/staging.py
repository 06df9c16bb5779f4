"""Puts new models into the model repository (`NAME/config.pbtxt`, `NAME/VERSION/…`): all of a model or nothing.

A model is made in a hidden folder of the repository, which the daemon does not see, and moved into its place when it is
whole. Listing, installing and removing models is `spark_accel/model_store.py`'s.
"""

import errno
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from spark_accel import folders
from spark_accel.errors import ModelError

_MOST_VERSION = 10**18 - 1  # more digits no version has
_STAGING = ".staging-"
_ABANDONED_SECONDS = 60.0
_EXISTS = (errno.ENOTEMPTY, errno.EEXIST)  # what a rename says of a folder that is there


def check_name(name: str) -> str:
    """The name, if it may be a model's; raises ModelError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", name):
        raise ModelError(f"model name '{name}' can't be used: letters, digits and _ . - only, a letter or digit first")
    return name


def versions(model: Path) -> list[int]:
    """The numbers of a model's versions, sorted."""
    found = (entry.name for entry in model.iterdir() if entry.is_dir())
    return sorted(int(name) for name in found if re.fullmatch(r"[1-9][0-9]{0,17}", name))


@contextmanager
def staging(repository: Path) -> Iterator[Path]:
    """A new folder in the repository that the daemon does not see; gone at the end, however that comes.

    Raises ModelError if what is in the context can't write: the disk is full, the folder read-only.
    """
    stage = None
    try:
        repository.mkdir(parents=True, exist_ok=True)
        _sweep(repository)
        stage = Path(tempfile.mkdtemp(prefix=_STAGING, dir=repository))
        descriptor = os.open(stage, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield stage
        finally:
            os.close(descriptor)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        # safetensors has no numbers of errors
        room = isinstance(error, SafetensorError) or error.errno in (errno.ENOSPC, errno.EDQUOT)
        free = f"; {shutil.disk_usage(repository).free >> 20} MiB are free" if room and repository.is_dir() else ""
        raise ModelError(f"the model repository {repository} can't be written: {reason}{free}") from error
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)


def check_writable(repository: Path) -> None:
    """Raises ModelError where `staging` plainly would; makes nothing."""
    if reason := folders.obstacle(repository):
        raise ModelError(f"the model repository {repository} can't be written: {reason}")


def publish(model: Path, repository: Path) -> Path:
    """Moves a whole model, staged as `NAME` with one version, to its place; gives the folder of that version.

    Where the model exists, the version becomes its next one, and labels and configuration are replaced.
    """
    target = repository / model.name
    (version,) = versions(model)
    if not target.exists():
        try:
            model.rename(target)
            return target / str(version)
        except OSError as error:
            if error.errno not in _EXISTS:
                raise
        # Somebody else was faster: a version more.
    _next_version(target)
    for file in sorted(path for path in model.iterdir() if path.is_file()):
        file.replace(target / file.name)
    while True:
        number = _next_version(target)
        try:
            return (model / str(version)).rename(target / str(number))
        except OSError as error:
            if error.errno not in _EXISTS:  # those: somebody else was faster
                raise


def _next_version(model: Path) -> int:
    latest = max(versions(model), default=0)
    if latest == _MOST_VERSION:
        raise ModelError(f"{model} has version {latest}, the last that there can be: remove or rename it")
    return latest + 1


def _sweep(repository: Path) -> None:
    """Deletes what a killed import has left: nobody holds its lock."""
    for stage in repository.glob(f"{_STAGING}*"):
        with suppress(OSError):
            if time.time() - stage.stat().st_mtime < _ABANDONED_SECONDS:
                continue
            descriptor = os.open(stage, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(stage, ignore_errors=True)
            finally:
                os.close(descriptor)
