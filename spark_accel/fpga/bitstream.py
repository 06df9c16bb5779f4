"""A bitstream on disk: an FPGA's program beside what is known of it, in a version folder of the model repository.

`fpga.bin` is what the vendor's compiler made (.aocx, .xclbin, the emulator's binary), `bitstream.json` says for which
board, of which kernels, built with which macros. Nothing of either is believed before it has been checked.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from spark_accel.errors import ModelError

BACKEND = "bitstream"
FACTS, FILE = "bitstream.json", "fpga.bin"
_MAX_FACTS, _MAX_BYTES = 2**20, 2**31
_MAX_DEFINE = 2**31 - 1


@dataclass(frozen=True)
class Bitstream:
    """`family` is the kernels' folder, `board` the name of the OpenCL device, `clock_mhz` what the compiler reached (0:
    unknown), `defines` the macros that the kernels were built with; `size` is in bytes."""

    family: str
    board: str
    kernels: tuple[str, ...]
    defines: dict[str, int] = field(default_factory=dict)
    clock_mhz: float = 0.0
    size: int = 0
    sha256: str = ""


def write(folder: Path, binary: bytes, facts: Bitstream) -> None:
    """Writes both files into `folder`, which exists; size and checksum are those of `binary`."""
    (folder / FILE).write_bytes(binary)
    written = asdict(facts) | {"size": len(binary), "sha256": hashlib.sha256(binary).hexdigest()}
    (folder / FACTS).write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> Bitstream:
    """What is known of the bitstream in `folder`; raises ModelError, naming the file."""
    path = folder / FACTS
    try:
        if not path.is_file() or path.stat().st_size > _MAX_FACTS:
            raise ValueError(f"no file of at most {_MAX_FACTS} bytes")
        row = json.loads(path.read_text(encoding="utf-8"))
        facts = Bitstream(**{**row, "kernels": tuple(row["kernels"])})
        _check(facts)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(f"{path} describes no bitstream: {type(error).__name__}: {error}") from error
    return facts


def binary(folder: Path, facts: Bitstream) -> bytes:
    """The program itself, as long as `facts` say and with their checksum; raises ModelError for any other."""
    path = folder / FILE
    try:
        size = path.stat().st_size if path.is_file() else -1
        if size != facts.size:
            what = "is not there" if size < 0 else f"has {size:,} bytes, {facts.size:,} are expected"
            raise ModelError(f"{path} {what}: it was cut short or is another one; build or copy it again")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} can't be read: {error.strerror or error}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != facts.sha256:
        raise ModelError(f"{path} is damaged: its SHA-256 is {found}, expected {facts.sha256}; build or copy it again")
    return data


def _check(facts: Bitstream) -> None:
    texts = (facts.family, facts.board, facts.sha256, *facts.kernels)
    if not all(isinstance(text, str) and 0 < len(text) < 1000 for text in texts):
        raise ValueError("family, board, sha256 and kernels are texts that are not empty")
    if not (isinstance(facts.size, int) and 0 < facts.size < _MAX_BYTES):
        raise ValueError(f"size is {facts.size!r}, expected 1 to {_MAX_BYTES}")
    if not (isinstance(facts.clock_mhz, int | float) and 0 <= facts.clock_mhz < 10_000):
        raise ValueError(f"clock_mhz is {facts.clock_mhz!r}, expected MHz")
    if not isinstance(facts.defines, dict) or len(facts.defines) > 100:
        raise ValueError("defines are no macros")
    for name, value in facts.defines.items():
        if not (isinstance(value, int) and 0 < value <= _MAX_DEFINE):
            raise ValueError(f"macro {name} is {value!r}, expected a number above 0")
