"""A bitstream on disk: an FPGA's program beside what is known of it, in a version folder of the model repository.

`fpga.bin` is what the vendor's compiler made (.aocx, .xclbin, the emulator's binary), `bitstream.json` says for which
board, of which kernels, built with which macros. Nothing of either is believed before it has been checked.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from spark_accel.errors import ModelError
from spark_accel.fpga import macros

BACKEND = "bitstream"
FACTS, FILE = "bitstream.json", "fpga.bin"
MAX_BYTES = 2**31
_MAX_FACTS = 2**20


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
    measured = replace(facts, size=len(binary), sha256=hashlib.sha256(binary).hexdigest())
    (folder / FACTS).write_text(json.dumps(asdict(measured), indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> Bitstream:
    """What is known of the bitstream in `folder`; raises ModelError, naming the file."""
    path = folder / FACTS
    try:
        if not path.is_file() or path.stat().st_size > _MAX_FACTS:
            raise ValueError(f"no file of at most {_MAX_FACTS} bytes")
        row = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(row["kernels"], list):
            raise ValueError(f"kernels are {row['kernels']!r}, expected a list of names")
        facts = Bitstream(**{**row, "kernels": tuple(row["kernels"])})
        _check(facts)
        if not (type(facts.size) is int and 0 < facts.size < MAX_BYTES and isinstance(facts.sha256, str)):
            raise ValueError(f"size is {facts.size!r} with SHA-256 {facts.sha256!r}, expected 1 to {MAX_BYTES} bytes")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(f"{path} describes no bitstream: {type(error).__name__}: {error}") from error
    return facts


def check(facts: Bitstream) -> None:
    """Raises ModelError for what `read` would refuse, but for size and checksum, which `write` fills in."""
    try:
        _check(facts)
    except ValueError as error:
        raise ModelError(f"nothing is installed: {error}") from error


def is_for(board: str, device: str) -> bool:
    """Whether a bitstream for `board` is for an OpenCL device of this name.

    The names of Intel's devices begin with what `aoc` calls the board: `pac_s10_dc : Intel PAC Platform`.
    """
    return device == board or device.startswith(f"{board} : ")


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
    for what, text in (("family", facts.family), ("board", facts.board), *(("kernel", one) for one in facts.kernels)):
        if not (isinstance(text, str) and text.isprintable() and 0 < len(text) < 1000):
            raise ValueError(f"{what} is {text!r}, expected a text of 1 to 999 characters")
    if not facts.kernels:
        raise ValueError("kernels are none, expected at least one")
    if isinstance(facts.clock_mhz, bool) or not (
        isinstance(facts.clock_mhz, int | float) and 0 <= facts.clock_mhz < 10_000
    ):
        raise ValueError(f"clock_mhz is {facts.clock_mhz!r}, expected MHz, less than 10000; 0: unknown")
    tiers = macros.tiers()
    if facts.family not in tiers:
        raise ValueError(f"family is {facts.family!r}, expected one of {', '.join(tiers)}")
    if not isinstance(facts.defines, dict) or facts.defines.keys() != tiers[facts.family].defines.keys():
        raise ValueError(f"the macros are not those of this version's kernels, '{facts.family}'; build it again")
    if problem := macros.problem(facts.family, facts.defines):
        raise ValueError(problem)
