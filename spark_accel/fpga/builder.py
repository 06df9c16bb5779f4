"""Makes bitstreams of the project's kernels and puts them into the model repository, each as the next version."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from spark_accel import model_store
from spark_accel.daemon import kernels, loaders
from spark_accel.daemon.model_config import FILE_NAME as CONFIG
from spark_accel.errors import ConfigurationError, ModelError
from spark_accel.fpga import bitstream, macros, toolchains
from spark_accel.fpga.bitstream import Bitstream
from spark_accel.networks import staging

_DEPTHS = {"DEPTH": 64, "IN_FLIGHT": 512}
_HEADERS = {b"\x7fELF": 52, b"xclbin2": 496}  # what such a file starts with, and the least bytes of its header
_STAGE = re.compile(r"^STAGE void (\w+)\(", re.MULTILINE)


class ToolchainMissing(ConfigurationError):  # noqa: N818 - it is missing
    """The vendor's compiler is not here; `lines` are the commands that would do it where it is."""

    def __init__(self, target: str, build: toolchains.Build, facts: Bitstream, name: str) -> None:
        tool = build.commands[0][0]
        same = [f"--define {key}={value}" for key, value in facts.defines.items()]
        same += [f"--clock {facts.clock_mhz:g}"] if facts.clock_mhz else []
        options = " ".join([f"--family {facts.family}", f"--name {name}", *same])
        super().__init__(
            f"{tool} is not on the PATH: nothing was built for {target}. Run the commands above where it is installed,"
            f" then `spark-accel kernels install {build.artifact} --board NAME {options}`, with the board's OpenCL"
            " device name"
        )
        self.lines = [shlex.join(command) for command in build.commands]


def tier(family: str, defines: Mapping[str, int], target: str) -> kernels.Tier:
    """The tier `fpga` of a family with other macros; raises ConfigurationError.

    Channels are deep on the emulator, where that makes it fast, and shallow on a board, where they take memory.
    """
    known = macros.tiers()
    if family not in known:
        raise ConfigurationError(f"--family is '{family}': expected one of {', '.join(known)}")
    found = known[family]
    unknown = sorted(set(defines) - set(found.defines))
    if unknown:
        raise ConfigurationError(f"--define {unknown[0]}: the kernels have {', '.join(found.defines)}")
    chosen = {**found.defines, **defines}
    if target != toolchains.EMULATOR:
        row = chosen.get("FEATURES", 0) // chosen["VEC"]  # which a channel of the estimators' must hold
        shallow = {key: max(depth, row) for key, depth in _DEPTHS.items() if key in found.defines}
        chosen |= {**shallow, **defines}
    if problem := macros.problem(family, chosen):
        raise ConfigurationError(f"--define: {problem}")
    return replace(found, defines=chosen)


def facts_of(family: str, chosen: kernels.Tier, board: str, clock_mhz: float) -> Bitstream:
    """What is known of a bitstream before it is there."""
    return Bitstream(family, board, _kernels(chosen), dict(chosen.defines), clock_mhz)


def build(target: str, facts: Bitstream, chosen: kernels.Tier, name: str, repository: Path) -> Path:
    """Builds kernels for a target and installs them as the next version of model `name`; gives the version's folder.

    Raises ToolchainMissing, ModelError with what the compiler said, ConfigurationError.
    """
    _check(name, facts)
    if target == toolchains.EMULATOR:
        with staging.staging(repository) as stage:  # where what a killed build leaves is swept away
            binary, board = _emulated(stage, chosen)
        return install(binary, replace(facts, board=board), name, repository)
    _check_place(name, facts.board, repository)
    source = Path.cwd() / f"spark-accel-{facts.family}" / f"{facts.family}.cl"
    made = toolchains.build(target, source, facts.kernels, facts.defines, facts.clock_mhz)
    try:
        source.parent.mkdir(exist_ok=True)
        source.write_text(chosen.text(), encoding="utf-8")
    except OSError as error:
        raise ModelError(f"nothing is built: {source} can't be written: {error.strerror or error}") from error
    if shutil.which(made.commands[0][0]) is None:
        raise ToolchainMissing(target, made, facts, name)
    for command in made.commands:  # hours, with output of its own
        if subprocess.run(command, stdin=subprocess.DEVNULL, check=False, cwd=source.parent).returncode:
            raise ModelError(f"nothing is installed: {shlex.join(command)} failed")
    return install(artifact(made.artifact), facts, name, repository)


def install(binary: bytes, facts: Bitstream, name: str, repository: Path) -> Path:
    """Puts a bitstream into the repository as the next version of model `name`; gives the version's folder.

    All is checked before anything is written; raises ModelError.
    """
    _check(name, facts)
    needed = next((size for magic, size in _HEADERS.items() if binary.startswith(magic)), None)
    if needed is None or len(binary) < needed:
        raise ModelError(
            f"this is no bitstream: it has {len(binary):,} bytes and starts with {binary[:8]!r}, an .aocx with ELF's"
            " header, an .xclbin with its own"
        )
    _check_family(binary, facts.family)
    config = ModelConfig(name=name, backend=bitstream.BACKEND)
    config.parameters["source"].string_value = f"{facts.family} for {facts.board}"
    there = (repository / name).exists()
    _check_place(name, facts.board, repository)
    with staging.staging(repository) as stage:
        model = stage / name
        (model / "1").mkdir(parents=True)
        bitstream.write(model / "1", binary, facts)
        if not there:  # else its configuration stays
            (model / CONFIG).write_text(text_format.MessageToString(config), encoding="utf-8")
        return staging.publish(model, repository)


def _check_place(name: str, board: str, repository: Path) -> None:
    """Raises ModelError where a model of this name is no bitstream, or is one for another board: of all versions the
    latest is served alone."""
    model = repository / name
    if not model.exists():
        return
    if model_store.facts(repository, name).backend != bitstream.BACKEND:
        raise ModelError(f"model '{name}' in {repository} is no bitstream; give this one another --name")
    for other in _boards(model):
        if not bitstream.is_for(other, board) and not bitstream.is_for(board, other):
            raise ModelError(
                f"model '{name}' in {repository} is a bitstream for board '{other}', and its latest version is the one"
                f" that is served: give this one, for '{board}', another --name"
            )


def _boards(model: Path) -> Iterator[str]:
    """Those of a model's versions, as far as they can be read."""
    for version in staging.versions(model):
        with contextlib.suppress(ModelError):
            yield bitstream.read(model / str(version)).board


def artifact(path: Path) -> bytes:
    """What a compiler made; raises ModelError for what is no plain file, or too large for a bitstream."""
    try:
        if not path.is_file() or path.stat().st_size >= bitstream.MAX_BYTES:
            raise ModelError(f"{path} is no bitstream: expected a file of less than {bitstream.MAX_BYTES:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} can't be read: {error.strerror or error}") from error


def _check(name: str, facts: Bitstream) -> None:
    model_store.check_free(staging.check_name(name))
    bitstream.check(facts)


def _check_family(binary: bytes, family: str) -> None:
    """Raises ModelError for a binary that has all kernels of another family, and not all of this one.

    Vendors' files hold kernels' names as they are, unless a part is compressed: a file without names passes. A single
    name tells nothing: words like `sums` and `weights` are in all files.
    """
    found = [
        name
        for name, tier in macros.tiers().items()
        if all(kernel.encode() in binary for kernel in _kernels(tier) if kernel != kernels.MACROS)
    ]
    if found and family not in found:
        raise ModelError(
            f"this bitstream has the kernels of '{found[0]}', not those of '{family}': give --family {found[0]}"
        )


def _kernels(tier: kernels.Tier) -> tuple[str, ...]:
    return tuple(_STAGE.findall(tier.text()))


def _emulated(folder: Path, chosen: kernels.Tier) -> tuple[bytes, str]:
    if loaders.EMULATOR not in loaders.names():
        raise ConfigurationError("no FPGA emulator is installed: pip install 'spark-accel[fpga]'")
    source, out = folder / "kernels.cl", folder / "out.bin"
    source.write_text(chosen.text(), encoding="utf-8")
    command = [sys.executable, "-m", "spark_accel.daemon.emulator_build", str(source), str(out)]
    stdin, ours = os.pipe()  # it ends with this process
    with os.fdopen(stdin) as its, os.fdopen(ours, "w"):
        done = subprocess.run(
            [*command, *chosen.build_options()],
            stdin=its,
            capture_output=True,
            env=loaders.process_environment(loaders.EMULATOR),
            check=False,
            text=True,
        )
    if done.returncode:
        raise ModelError(f"nothing is built for the emulator: {done.stderr.strip()[-4000:]}")
    return out.read_bytes(), done.stdout.strip().splitlines()[-1]
