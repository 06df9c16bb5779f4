"""Archives that are broken, or made to do harm: none is installed, and each is told what is wrong with it."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spark_accel import installation
from spark_accel.errors import ModelError


def _twice(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("tiny/config.pbtxt"))
        archive.addfile(tarfile.TarInfo("tiny/config.pbtxt"))


def _file_and_folder(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny/1", "x")
        archive.writestr("tiny/1/x", "x")


def _folder_and_file(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny/1/x", "x")
        archive.writestr("tiny/1", "x")


def _long_name(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("n" * 300, "x")


def _deep(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/" * 1500 + "x", "x")


def _patched_zip(path: Path, offset: int, value: int) -> None:
    """One file's zip with a 16-bit field changed; offset as in the local header, in the central one 2 further."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "x")
    content = bytearray(path.read_bytes())
    for start in (offset, content.index(b"PK\1\2") + offset + 2):
        content[start : start + 2] = value.to_bytes(2, "little")
    path.write_bytes(content)


def _encrypted(path: Path) -> None:
    _patched_zip(path, 6, 1)


def _unknown_method(path: Path) -> None:
    _patched_zip(path, 8, 77)


def _compressed_too_well(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("tiny/x", bytes(2**23))


def _long_header(path: Path) -> None:
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("tiny/x")
        member.pax_headers["comment"] = "0" * 2**23
        archive.addfile(member)


def _broken_stream(path: Path, mode: str) -> None:
    noise = np.random.default_rng(0).bytes(2**21)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        member = tarfile.TarInfo("tiny/x")
        member.size = len(noise)
        archive.addfile(member, io.BytesIO(noise))
    content = bytearray(packed.getvalue())
    middle = len(content) // 2
    content[middle : middle + 4096] = b"\xff" * 4096
    path.write_bytes(content)


def _broken_bzip2(path: Path) -> None:
    _broken_stream(path, "w:bz2")


def _broken_lzma(path: Path) -> None:
    _broken_stream(path, "w:xz")


def _broken_gzip(path: Path) -> None:
    _broken_stream(path, "w:gz")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_twice, "'tiny/config.pbtxt' is there twice"),
        (_file_and_folder, "as a file and as a folder"),
        (_folder_and_file, "as a file and as a folder"),
        (_long_name, "is too long"),
        (_deep, "folders deep"),
        (_encrypted, "encrypted"),
        (_unknown_method, "compressed by method 77"),
        (_compressed_too_well, "compressed by method 14"),
        (_long_header, "a header has 8388[0-9]{3} bytes"),
        (_broken_gzip, ""),
        (_broken_bzip2, ""),
        (_broken_lzma, ""),
    ],
)
def test_a_broken_archive_is_what_the_message_names(tmp_path: Path, make: Callable[[Path], None], reason: str) -> None:
    archive = tmp_path / "broken"
    make(archive)

    with pytest.raises(ModelError, match=rf"(?s)^{archive}.*{reason}"):
        installation.install(archive, tmp_path / "repository")
    assert list((tmp_path / "repository").iterdir()) == []


def test_the_folders_of_an_archive_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "_MAX_ENTRIES", 100)
    archive = tmp_path / "folders.tar"
    with tarfile.open(archive, "w") as tape:
        for _ in range(101):
            member = tarfile.TarInfo("tiny")
            member.type = tarfile.DIRTYPE
            tape.addfile(member)

    with pytest.raises(ModelError, match="more than 100 files and folders"):
        installation.install(archive, tmp_path / "repository")
