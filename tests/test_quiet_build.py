"""What the FPGA emulator's compiler says of the project's own kernels is in no log and on no terminal."""

import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from daemons import running
from kernel_models import source, write_kernel

from spark_accel.daemon import loaders

pytestmark = pytest.mark.skipif(loaders.EMULATOR not in loaders.names(), reason="pip install 'spark-accel[fpga]'")


def said(*, quietly: bool) -> list[str]:
    """The warnings at the build of a family's kernels on the emulator."""
    import pyopencl as cl  # where the emulator is the only platform

    from spark_accel.daemon import board_program, quiet_build
    from spark_accel.fpga import macros

    tier = macros.tiers()["kmeans"]
    context = cl.Context(cl.get_platforms()[0].get_devices())
    program = cl.Program(context, tier.text())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if quietly:
            board_program.reloaded(quiet_build.build(program, tier.build_options()), context)
        else:
            program.build(options=tier.build_options(), cache_dir=False)  # type: ignore[arg-type]
    return [one.category.__name__ for one in caught]


def test_pyopencl_would_warn_of_each_program(emulator: ProcessPoolExecutor) -> None:
    assert emulator.submit(said, quietly=False).result() == ["CompilerWarning"]


def test_our_kernels_are_built_and_given_to_the_board_again_without_a_warning(emulator: ProcessPoolExecutor) -> None:
    assert emulator.submit(said, quietly=True).result() == []


def test_a_bitstream_is_built_without_a_warning_on_the_terminal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "spark_accel", "kernels", "build", "--target", "emulator", "--family", "kmeans"]

    done = subprocess.run(
        [*command, "--repository", str(tmp_path)], capture_output=True, text=True, check=True, cwd=tmp_path
    )

    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


def test_a_users_kernel_that_does_not_compile_is_refused_with_the_compilers_words(tmp_path: Path) -> None:
    with running(tmp_path, device="fpga") as daemon:
        write_kernel(daemon.repository, "wrong", source("wrong", "z;"))

        code, message = daemon.refusal("RepositoryModelLoad", model_name="wrong")

    assert code == "INVALID_ARGUMENT"
    assert "does not compile" in message
    assert "use of undeclared identifier 'z'" in message
