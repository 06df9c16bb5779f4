"""Installs a model that was made elsewhere: a folder or an archive, hostile until all of it has been checked.

Making a model from a network's file is `networks/importer.py`'s, moving it to its place `networks/staging.py`'s.
"""

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from spark_accel.daemon import model_folder
from spark_accel.daemon.model_config import FILE_NAME as CONFIG
from spark_accel.daemon.model_folder import PollError
from spark_accel.errors import ModelError
from spark_accel.networks import plan, staging

# An archive's own figures are not to be believed: bounds on what is unpacked.
_MAX_BYTES = 8 * 2**30
_MAX_FILES = 10_000
_CHUNK = 2**20


def install(source: Path, repository: Path) -> str:
    """Installs a model's folder, or a .zip, .tar or .tar.gz of one, after checking all of it; returns its name.

    The model is what its config.pbtxt names. Raises ModelError; the repository is then as it was.
    """
    try:
        with staging.staging(repository) as stage:
            unpacked = stage / "unpacked"
            unpacked.mkdir()
            for name, content in _files(source):
                _write(unpacked, name, content)
            folder = _model_root(unpacked, source)
            name = _checked(folder, source)
            if name in model_folder.names(repository):
                raise ModelError(f"model '{name}' is in {repository} already; remove it first")
            folder.rename(repository / name)
            return name
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise ModelError(f"{source} can't be installed: {error}") from error


def _files(source: Path) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The files of a folder or archive: relative name, content in pieces. Links and devices are refused."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise ModelError(f"{source}: '{path.relative_to(source)}' is neither a file nor a folder")
            if path.is_file():
                with path.open("rb") as file:
                    yield path.relative_to(source).as_posix(), _pieces(file)
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    with archive.open(entry) as content:
                        yield entry.filename, _pieces(content)
    elif source.is_file() and tarfile.is_tarfile(source):
        with tarfile.open(source) as tape:
            for member in tape:
                if not (member.isfile() or member.isdir()):
                    raise ModelError(f"{source}: '{member.name}' is neither a file nor a folder")
                extracted = tape.extractfile(member)
                if extracted is not None:
                    yield member.name, _pieces(extracted)
    else:
        raise ModelError(f"{source} is no folder, .zip, .tar or .tar.gz")


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(_CHUNK), b"")


def _write(folder: Path, name: str, content: Iterator[bytes]) -> None:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or "\\" in name or "\0" in name or not relative.parts:
        raise ModelError(f"'{name}' would lie outside of the model's folder")
    path = folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    written = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if sum(1 for _ in folder.rglob("*")) >= _MAX_FILES:
        raise ModelError(f"more than {_MAX_FILES} files are no model")
    with path.open("xb") as file:
        for piece in content:
            written += len(piece)
            if written > _MAX_BYTES:
                raise ModelError(f"more than {_MAX_BYTES} bytes are no model")
            file.write(piece)


def _model_root(unpacked: Path, source: Path) -> Path:
    """Where config.pbtxt lies: at the top, or in the one folder there."""
    entries = list(unpacked.iterdir())
    candidates: list[Path] = [unpacked, *(entries if len(entries) == 1 else [])]
    for candidate in candidates:
        if (candidate / CONFIG).is_file():
            return candidate
    raise ModelError(f"{source} holds no model: there is no config.pbtxt at its top or in its one folder")


def _checked(folder: Path, source: Path) -> str:
    try:
        found = model_folder.poll(folder.parent, folder.name)
    except PollError as error:
        raise ModelError(f"{source} holds no model: {error}") from error
    if found.config.backend != "network":
        raise ModelError(f"{source}: its backend is '{found.config.backend}'; only 'network' can be installed")
    if not found.versions:
        raise ModelError(f"{source} has no version folder (1, 2, …)")
    for version in found.versions:
        plan.load(found.version(version))
    return staging.check_name(found.config.name)
