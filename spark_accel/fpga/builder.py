"""Makes bitstreams of the project's kernels and puts them into the model repository, each as the next version."""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from spark_accel import model_store
from spark_accel.daemon import kernels, loaders
from spark_accel.daemon.model_config import FILE_NAME as CONFIG
from spark_accel.errors import ConfigurationError, ModelError
from spark_accel.fpga import bitstream, toolchains
from spark_accel.fpga.bitstream import Bitstream
from spark_accel.networks import staging

_DEPTHS = {"DEPTH": 64, "IN_FLIGHT": 512}
_MAGIC = (b"\x7fELF", b"xclbin2")
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
    folder = kernels.folder() / family
    known = {one.name: one for one in kernels.tiers(folder)} if folder.is_dir() else {}
    if "fpga" not in known:
        raise ConfigurationError(f"--family is '{family}': expected one that has kernels for FPGAs, such as network")
    found = known["fpga"]
    unknown = sorted(set(defines) - set(found.defines))
    if unknown:
        raise ConfigurationError(f"--define {unknown[0]}: the kernels have {', '.join(found.defines)}")
    shallow = {} if target == toolchains.EMULATOR else {key: _DEPTHS[key] for key in _DEPTHS if key in found.defines}
    return replace(found, defines={**found.defines, **shallow, **defines})


def facts_of(family: str, chosen: kernels.Tier, board: str, clock_mhz: float) -> Bitstream:
    """What is known of a bitstream before it is there."""
    return Bitstream(family, board, tuple(_STAGE.findall(chosen.text())), dict(chosen.defines), clock_mhz)


def build(target: str, facts: Bitstream, chosen: kernels.Tier, name: str, repository: Path) -> Path:
    """Builds kernels for a target and installs them as the next version of model `name`; gives the version's folder.

    Raises ToolchainMissing, ModelError with what the compiler said, ConfigurationError.
    """
    staging.check_name(name)
    if target == toolchains.EMULATOR:
        with tempfile.TemporaryDirectory(prefix="spark-accel-build-") as folder:
            binary, board = _emulated(Path(folder), chosen)
        return install(binary, replace(facts, board=board), name, repository)
    source = Path.cwd() / f"spark-accel-{facts.family}" / f"{facts.family}.cl"
    made = toolchains.build(target, source, facts.kernels, facts.defines, facts.clock_mhz)
    source.parent.mkdir(exist_ok=True)
    source.write_text(chosen.text(), encoding="utf-8")
    if shutil.which(made.commands[0][0]) is None:
        raise ToolchainMissing(target, made, facts, name)
    for command in made.commands:  # hours, with output of its own
        if subprocess.run(command, stdin=subprocess.DEVNULL, check=False, cwd=source.parent).returncode:
            raise ModelError(f"nothing is installed: {shlex.join(command)} failed")
    return install(made.artifact.read_bytes(), facts, name, repository)


def install(binary: bytes, facts: Bitstream, name: str, repository: Path) -> Path:
    """Puts a bitstream into the repository as the next version of model `name`; gives the version's folder."""
    if not binary.startswith(_MAGIC):
        raise ModelError(
            f"this is no bitstream: it starts with {binary[:8]!r}, an .aocx with ELF's bytes, an .xclbin with its"
        )
    config = ModelConfig(name=name, backend=bitstream.BACKEND)
    config.parameters["source"].string_value = f"{facts.family} for {facts.board}"
    with staging.staging(repository) as stage:
        staged = stage / "1"
        staged.mkdir()
        bitstream.write(staged, binary, facts)
        model = repository / name
        if not model.exists():
            (stage / CONFIG).write_text(text_format.MessageToString(config), encoding="utf-8")
            whole = stage / "whole"
            whole.mkdir()
            staged.rename(whole / "1")
            (stage / CONFIG).rename(whole / CONFIG)
            whole.rename(model)
            return model / "1"
        if model_store.facts(repository, name).backend != bitstream.BACKEND:
            raise ModelError(f"model '{name}' in {repository} is no bitstream; give this one another --name")
        number = max(staging.versions(model), default=0) + 1
        staged.rename(model / str(number))
        return model / str(number)


def _emulated(folder: Path, chosen: kernels.Tier) -> tuple[bytes, str]:
    if loaders.EMULATOR not in loaders.names():
        raise ConfigurationError("no FPGA emulator is installed: pip install 'spark-accel[fpga]'")
    source, out = folder / "kernels.cl", folder / "out.bin"
    source.write_text(chosen.text(), encoding="utf-8")
    command = [sys.executable, "-m", "spark_accel.daemon.emulator_build", str(source), str(out)]
    done = subprocess.run(
        [*command, *chosen.build_options()],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=loaders.process_environment(loaders.EMULATOR),
        check=False,
        text=True,
    )
    if done.returncode:
        raise ModelError(f"the kernels do not build for the emulator: {done.stderr.strip()[-4000:]}")
    return out.read_bytes(), done.stdout.strip().splitlines()[-1]
