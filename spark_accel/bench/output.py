"""Files that the suite writes: what one held before is lost only once all of the new is written."""

import os
from collections.abc import Iterable
from pathlib import Path

from spark_accel.errors import ConfigurationError


def write(text: str, path: Path) -> None:
    """Puts `text` in the place of what was there; raises ConfigurationError where that can't be done."""
    path = path.resolve()
    whole = path.is_file() or not path.exists()  # not a terminal or a pipe
    new = path.with_name(f".{path.name}.{os.getpid()}") if whole else path
    try:
        try:
            new.write_text(text, encoding="utf-8")
            if whole:
                new.replace(path)
        finally:
            if whole:
                new.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{path} can't be written: {error.strerror}") from error


def check_writable(path: Path) -> None:
    """Raises ConfigurationError before anything is measured, if results could not be written there afterwards."""
    needed = path if path.exists() and not path.is_file() else path.resolve().parent
    if path.is_dir() or not os.access(needed, os.W_OK):
        raise ConfigurationError(f"{path} can't be written: expected a file in a folder that exists and is yours")


def check_distinct(paths: Iterable[Path]) -> None:
    """Raises ConfigurationError if one file is to be two things, of which the one that is written last would stay."""
    found: set[Path] = set()
    for path in paths:
        if path.resolve() in found:
            raise ConfigurationError(f"{path} is named twice: results and each page need a file of their own")
        found.add(path.resolve())
