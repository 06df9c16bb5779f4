"""The names of a network's classes: from Keras' class index or a text file, to the lines of `labels.txt`.

A line of `labels.txt` is `ID label`, or one word that is both. An ID has no white space.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from spark_accel.errors import ModelError

FILE_NAME = "labels.txt"
_MAX_BYTES = 2**24
_WORDNET_LINE = re.compile(r"n\d{8}\s+\S")


def read(path: Path) -> list[str]:
    """The lines of `labels.txt` for a file of labels: Keras' class-index JSON, or text with one label a line.

    A text whose lines all start with WordNet IDs (`n01440764 tench`) has IDs; else they are made of the labels.
    Raises ModelError, naming the file.
    """
    try:
        if path.exists() and not path.is_file():
            raise ModelError(f"labels {path} can't be read: it is no file")
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{path} is larger than {_MAX_BYTES} bytes, too large for labels")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"labels {path} can't be read: {error}") from error
    if text.lstrip().startswith("{"):
        return _of_class_index(path, text)
    rows = [" ".join(line.split()) for line in text.strip().splitlines()]
    if not rows or not all(rows):
        raise ModelError(f"labels {path} is empty or has an empty line; expected one label a line")
    return rows if all(map(_WORDNET_LINE.match, rows)) else [line("", row) for row in rows]


def line(identity: str, label: str) -> str:
    """A line of `labels.txt`. Without an identity the label is one, with `_` for its white space."""
    label = " ".join(label.split())
    identity = "_".join(identity.split() or label.split())
    return label if identity == label else f"{identity} {label}"


def numbered(classes: int) -> list[str]:
    """Lines for a network whose labels nobody gave."""
    return [f"class_{index}" for index in range(classes)]


def _of_class_index(path: Path, text: str) -> list[str]:
    try:
        table = json.loads(text)
        rows: Sequence[Sequence[object]] = [table[str(index)] for index in range(len(table))]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f'labels {path} is no class index {{"0": [ID, label], …}}: {error!r}') from error
    for index, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != 2 or not all(isinstance(one, str) and one.split() for one in row):
            raise ModelError(f"labels {path}: class {index} is {row!r}, expected [ID, label]")
    return [line(str(identity), str(label)) for identity, label in rows]
