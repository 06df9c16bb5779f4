"""`spark-accel kernels build`: with a vendor's compiler and without, on a full disk, killed; what it leaves."""

import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from conftest import eventually
from kernel_builds import COMMAND, SMALL, kernels
from nodes import gone

from spark_accel.daemon import loaders
from spark_accel.errors import ModelError
from spark_accel.fpga import bitstream, builder, toolchains
from spark_accel.networks import staging


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that programs put their temporary files into."""
    if loaders.EMULATOR not in loaders.names():
        pytest.skip("no FPGA emulator: pip install 'spark-accel[fpga]'")
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_source_that_does_not_compile_leaves_nothing(tmp_path: Path, temporary: Path) -> None:
    chosen = builder.tier("network", {}, toolchains.EMULATOR)
    facts = builder.facts_of("network", chosen, "emulator", 0.0)
    (tmp_path / "wrong.cl").write_text("__kernel void wrong(__global int *a) { *a = missing; }")

    with pytest.raises(ModelError, match=r"(?s)nothing is built for the emulator: .*missing"):
        builder.build("emulator", facts, replace(chosen, source=tmp_path / "wrong.cl"), "engine", tmp_path / "r")

    assert not list(temporary.iterdir())
    assert not list((tmp_path / "r").iterdir())


def test_what_a_killed_build_left_is_swept_away(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "r"
    with subprocess.Popen([*COMMAND, "build", "--target", "emulator", "--repository", str(repository)]) as build:
        eventually(psutil.Process(build.pid).children, 60, "its compiler starts")
        (compiler,) = psutil.Process(build.pid).children()
        build.kill()
    eventually(lambda: gone(compiler.pid), what="its compiler ends")
    monkeypatch.setattr(staging, "_ABANDONED_SECONDS", -1.0)

    with staging.staging(repository):
        pass

    assert not list(temporary.iterdir())
    assert not list(repository.iterdir())


def test_a_disk_without_room_for_the_program_is_said(tmp_path: Path, temporary: Path) -> None:
    build = shlex.join([*COMMAND, "build", "--target", "emulator", *SMALL, "--repository", str(tmp_path / "r")])

    done = subprocess.run(["/bin/sh", "-c", f"ulimit -f 100; {build}"], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "nothing is built for the emulator: " in done.stderr
    assert "can't be written: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    ("target", "tool", "wanted"),
    [
        ("intel:pac_s10_dc", "aoc", ["aoc -board=pac_s10_dc -report", "-DLANES=64", "network.aocx"]),
        ("xilinx:u250", "v++", ["v++ -t hw --platform u250 -c -k maps", "--link", "network.xclbin"]),
    ],
)
def test_without_a_vendors_compiler_the_exact_commands_are_printed(
    tmp_path: Path, target: str, tool: str, wanted: list[str]
) -> None:
    done = kernels(
        "build", "--target", target, "--define", "LANES=64", "--repository", str(tmp_path / "r"), cwd=tmp_path
    )

    assert done.returncode == 1
    assert f"{tool} is not on the PATH" in done.stderr
    assert all(text in done.stdout for text in wanted)
    assert "STAGE void maps" in (tmp_path / "spark-accel-network" / "network.cl").read_text()


def test_with_a_vendors_compiler_its_file_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    compiler = tmp_path / "bin" / "aoc"
    compiler.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\nprintf xclbin2%0489d 0 > "$2"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    done = kernels(
        "build", "--target", "intel:board", "--clock", "300", "--repository", str(tmp_path / "r"), cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    facts = bitstream.read(tmp_path / "r" / "network-bitstream" / "1")
    assert (facts.board, facts.clock_mhz, facts.size) == ("board", 300, 496)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--target", "nvidia:h100"], f"expected {toolchains.EMULATOR}, intel:BOARD or xilinx:PLATFORM"),
        (["--target", "intel:"], "--target is 'intel:'"),
        (["--target", "emulator", "--family", "nothing"], "--family is 'nothing'"),
        (["--target", "emulator", "--define", "LANE=16"], "--define LANE: the kernels have VEC, LANES"),
        (["--target", "emulator", "--define", "LANES"], "--define is 'LANES': expected NAME=NUMBER"),
        (["--target", "emulator", "--name", "../x"], "model name '../x' can't be used"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, arguments: list[str], reason: str) -> None:
    done = kernels("build", *arguments, "--repository", str(tmp_path / "r"), cwd=tmp_path)

    assert done.returncode == 1
    assert reason in done.stderr
