"""Installs a model that was made elsewhere: a folder or an archive, hostile until all of it has been checked.

A network is read as a whole; of a user's kernel the configuration is checked, its program when a device builds it.

Making a model from a network's file is `networks/importer.py`'s, moving it to its place `networks/staging.py`'s.
"""

import errno
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from google.protobuf.json_format import MessageToDict
from tritonclient.grpc.model_config_pb2 import ModelConfig

from spark_accel import model_store
from spark_accel.daemon import model_config, model_folder, network_config
from spark_accel.daemon.model_config import FILE_NAME as CONFIG
from spark_accel.daemon.model_config import ModelLoadError
from spark_accel.daemon.model_folder import ModelFolder, PollError
from spark_accel.errors import ModelError
from spark_accel.fpga import bitstream
from spark_accel.networks import plan, staging
from spark_accel.own_kernels import definition, files

# An archive's own figures are not to be believed: bounds on what is unpacked.
_MAX_BYTES = 8 * 2**30
_MAX_ENTRIES = 10_000  # files and folders
_MAX_DEPTH = 32
_CHUNK = 2**20
_MAX_HEADER = 2**16  # bytes of a tape's names and extended headers, which are read as a whole
# zipfile inflates these in bounded pieces, bzip2 and LZMA in whatever a megabyte of theirs becomes.
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

# What the standard library raises for broken, encrypted or unsupported archives, besides OSError.
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,  # encrypted; as NotImplementedError an unknown compression
    ValueError,
    LookupError,
    ArithmeticError,
)
_REPOSITORY_FAULTS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)


def install(source: Path, repository: Path) -> str:
    """Installs a model's folder, or a .zip, .tar or .tar.gz of one, after checking all of it; returns its name.

    The model is what its config.pbtxt names; a kernel without a name there is what its folder is called. Raises
    ModelError; the repository is then as it was.
    """
    with staging.staging(repository) as stage:
        unpacked = stage / "unpacked"
        unpacked.mkdir()
        _unpack(source, unpacked)
        folder = _model_root(unpacked, source)
        try:
            name = _checked(folder, source)
        except ModelError as error:  # the user knows the source, not the copy of it that was looked at
            raise ModelError(str(error).replace(str(folder), str(source / folder.relative_to(unpacked)))) from error
        if name in model_folder.names(repository):
            raise ModelError(_is_there(name, repository))
        folder.rename(repository / name)
        return name


def _unpack(source: Path, folder: Path) -> None:
    """Copies the files of a folder or archive into `folder`; raises ModelError, naming the source, if it is at fault.

    Raises OSError if it is the repository that can't be written.
    """
    entries = written = 0
    folders: set[PurePosixPath] = set()
    try:
        for name, content in _files(source):
            entries += 1
            relative = None if content is None else _relative(name)
            if relative is not None:
                folders.update(relative.parents)
            if entries + len(folders) > _MAX_ENTRIES:
                raise ModelError(f"{source}: more than {_MAX_ENTRIES} files and folders are no model")
            if relative is None or content is None:
                continue
            with _create(folder / relative, name) as file:
                for piece in content:
                    written += len(piece)
                    if written > _MAX_BYTES:
                        raise ModelError(f"{source}: more than {_MAX_BYTES} bytes are no model")
                    file.write(piece)
    except _BROKEN as error:
        raise ModelError(f"{source} can't be installed: {error or type(error).__name__}") from error
    except OSError as error:
        if error.errno in _REPOSITORY_FAULTS:
            raise
        raise ModelError(f"{source} can't be installed: {error.strerror or error}") from error


def _files(source: Path) -> Iterator[tuple[str, Iterator[bytes] | None]]:
    """What a folder or archive holds: relative name, content in pieces, None for a folder. No links, no devices."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise ModelError(f"{source}: '{path.relative_to(source)}' is neither a file nor a folder")
            name = path.relative_to(source).as_posix()
            if path.is_dir():
                yield name, None
                continue
            with path.open("rb") as file:
                yield name, _pieces(file)
    elif not source.is_file():  # opening a pipe would wait forever
        what = "is no folder, .zip, .tar or .tar.gz" if source.exists() else "does not exist"
        raise ModelError(f"{source} {what}")
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            for entry in archive.infolist():
                if entry.is_dir():
                    yield entry.filename, None
                    continue
                if entry.compress_type not in _ZIP_METHODS:
                    raise ModelError(
                        f"{source}: '{entry.filename}' is compressed by method {entry.compress_type}; pack it with"
                        " deflate (method 8), as zip does by default"
                    )
                with archive.open(entry) as content:
                    yield entry.filename, _pieces(content)
    else:
        with _tape(source) as tape:
            for member in tape:
                if not (member.isfile() or member.isdir()):
                    raise ModelError(f"{source}: '{member.name}' is neither a file nor a folder")
                extracted = tape.extractfile(member)
                yield member.name, None if extracted is None else _pieces(extracted)


def _tape(source: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(source, tarinfo=_Member)
    except tarfile.ReadError as error:
        raise ModelError(f"{source} is no folder, .zip, .tar or .tar.gz, or a broken one: {error}") from error


class _Member(tarfile.TarInfo):
    """A tape's member whose headers, however well they are compressed, don't fill the memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Member":
        member = super().frombuf(buf, encoding, errors)
        if member.type not in tarfile.REGULAR_TYPES and member.size > _MAX_HEADER:
            raise tarfile.ReadError(f"a header has {member.size} bytes")
        return member


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(_CHUNK), b"")


def _relative(name: str) -> PurePosixPath:
    """The name as a path; ValueError for one that is absolute, leads outside or is too deep."""
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or "\\" in name or "\0" in name or not relative.parts:
        raise ValueError(f"'{name[:200]}' would lie outside of the model's folder")
    if len(relative.parts) > _MAX_DEPTH:
        raise ValueError(f"'{name[:200]}' lies more than {_MAX_DEPTH} folders deep, which is no model's")
    return relative


def _create(path: Path, name: str) -> IO[bytes]:
    """A new file. A name that is there twice, as file and folder, or too long raises ValueError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb")
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise ValueError(f"'{name[:200]}' is there twice, or as a file and as a folder") from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise ValueError(f"the name '{name[:40]}…' is too long") from error


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
        raise ModelError(str(error)) from error
    backend = found.config.backend
    if backend not in _CHECKS:
        raise ModelError(
            f"{folder / CONFIG}: its backend is '{backend}'; only 'network', '{bitstream.BACKEND}' and"
            f" '{definition.BACKEND}', a kernel of your own, can be installed"
        )
    if not found.versions:
        raise ModelError(f"{source} has no version folder (1, 2, …)")
    # A user's kernel may be called as its folder is.
    name = found.config.name or (source.resolve().name if backend == definition.BACKEND and source.is_dir() else "")
    try:
        model_store.check_free(name)
        staging.check_name(name)
    except ModelError as error:
        raise ModelError(f"{folder / CONFIG}: {error}") from error
    _CHECKS[backend](found, name, source)
    return name


def _is_there(name: str, repository: Path) -> str:
    model = repository / name
    text = f"model '{name}' is in {repository} already; remove it first: `spark-accel model remove {name}`"
    if model_store.facts(repository, name).backend != definition.BACKEND:
        return text
    following = max(staging.versions(model), default=0) + 1
    return f"{text}, or keep it and copy the new files to {model / str(following)}, as its next version"


def _check_network(found: ModelFolder, name: str, source: Path) -> None:  # noqa: ARG001 - as the others
    config = MessageToDict(_checked_config(found, name), preserving_proto_field_name=True)
    for version in found.versions:
        network = plan.load(found.version(version))
        try:
            network_config.check(config, network)
        except ModelError as error:
            raise ModelError(f"{found.path / CONFIG}: {error}") from error


def _check_bitstream(found: ModelFolder, name: str, source: Path) -> None:  # noqa: ARG001 - as the others
    for version in map(found.version, found.versions):
        bitstream.binary(version, bitstream.read(version))


def _check_kernel(found: ModelFolder, name: str, source: Path) -> None:
    for version in found.versions:
        if not any((found.version(version) / file).is_file() for file in files.ALL):
            raise ModelError(f"{source}: its version {version} has no kernel: none of {', '.join(files.ALL)}")
    _checked_config(found, name)


def _checked_config(found: ModelFolder, name: str) -> ModelConfig:
    """The configuration as the daemon completes it, if it would serve it so."""
    config = model_config.complete(found.config, name, ())
    try:
        model_config.check(config, found.path)
        model_config.labels(config, found.path)
    except ModelLoadError as error:
        text = str(error).removeprefix("Invalid argument: ").removeprefix(f"{CONFIG} of model '{name}': ")
        raise ModelError(f"{found.path / CONFIG}: {text}") from error
    return config


_CHECKS = {"network": _check_network, bitstream.BACKEND: _check_bitstream, definition.BACKEND: _check_kernel}
