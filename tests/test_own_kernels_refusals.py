"""Kernels of users that a daemon refuses to load, each with the reason and what to change."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import Daemon, running
from kernel_models import TWICE, source, write_kernel


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("node"), device="cpu") as made:
        yield made


def load_refused(daemon: Daemon, name: str) -> str:
    code, text = daemon.refusal("RepositoryModelLoad", model_name=name)
    assert code == "INVALID_ARGUMENT"
    return text


def test_source_that_does_not_compile_is_refused_with_the_compilers_words(daemon: Daemon) -> None:
    write_kernel(daemon.repository, "broken", source("broken", "y[i] = undeclared;"))

    text = load_refused(daemon, "broken")

    assert "portable.cl of model 'broken' does not compile:" in text
    assert "undeclared" in text
    assert "/" not in text.split("undeclared")[0]
    assert len(text) < 4000


@pytest.mark.parametrize(
    "directive",
    [
        '#include "/etc/passwd"',
        "# include </etc/passwd>",
        '#include "../../etc/passwd"',
        "#include PASSWD",
        '%: include "/etc/passwd"',
        '#/* */include "/etc/passwd"',
        '#include /* */ "/etc/passwd"',
        '#inc\\\nlude "/etc/passwd"',
        '#include_next "/etc/passwd"',
    ],
)
def test_a_kernel_that_includes_files_from_elsewhere_is_refused_before_a_compiler_shows_them(
    daemon: Daemon, directive: str
) -> None:
    write_kernel(daemon.repository, "reader", f"{directive}\n{source('reader', '')}")

    text = load_refused(daemon, "reader")

    assert "a kernel is one file, and may include only what a driver brings" in text
    assert "root" not in text


def test_a_plain_include_is_the_compilers_matter(daemon: Daemon) -> None:
    write_kernel(daemon.repository, "complex", f"#include <pyopencl-complex.h>\n{source('complex', 'y[i] = x[i];')}")

    daemon.load("complex")


@pytest.mark.parametrize(
    ("text", "parameters", "said"),
    [
        (TWICE, {"kernel": "thrice"}, "portable.cl of model 'wrong' has no kernel 'thrice', only twice: set"),
        (TWICE, {"kernel": "twice", "arguments": "x, y"}, "takes 3 arguments, and 'arguments' in config.pbtxt names 2"),
        (
            TWICE,
            {"kernel": "twice", "arguments": "x, n, y"},
            "argument 2 of kernel 'twice' in portable.cl of model 'wrong' is 'float*', and 'n', a scalar",
        ),
        (
            TWICE,
            {"kernel": "twice", "scalars": "n: FP32"},
            "is 'int', and 'n' is FP32 in config.pbtxt, which is 'float'",
        ),
        (
            "__kernel void wrong(__global double *x, __global float *y, int n) {}",
            {},
            "is 'double*', and 'x' is FP32 in config.pbtxt, which is 'float'",
        ),
        (
            "__kernel void wrong(read_only image2d_t x, __global float *y, int n) {}",
            {},
            "is 'image2d_t', and 'x', a tensor of config.pbtxt, stands there: check 'arguments', or declare '__",
        ),
        (
            "typedef long count; __kernel void wrong(__global float *x, __global float *y, count n) {}",
            {},
            "is 'count', and 'n' is INT32 in config.pbtxt, which is 'int'",
        ),
        (
            "__kernel void wrong(__global float *x, __global float *y, int4 n) {}",
            {},
            "is 'int4', and 'n' is INT32 in config.pbtxt, which is 'int'",
        ),
        (
            "__kernel void wrong(__local float *x, __global float *y, int n) {}",
            {},
            "in local memory: declare it inside",
        ),
        (
            "__kernel void wrong(__global float *x, __global float *y, int n) {}",
            {"globalsize": "n"},
            "nearest: 'global",
        ),
    ],
)
def test_a_program_that_is_not_what_the_configuration_says_is_refused(
    daemon: Daemon, text: str, parameters: dict[str, str], said: str
) -> None:
    write_kernel(daemon.repository, "wrong", text, parameters=parameters)

    assert said in load_refused(daemon, "wrong")


def test_a_version_without_a_file_for_the_device_is_refused_with_those_that_it_takes(daemon: Daemon) -> None:
    write_kernel(daemon.repository, "elsewhere", "", file="fpga.aocx")

    text = load_refused(daemon, "elsewhere")

    assert "model 'elsewhere' has nothing in its version folder that device '" in text
    assert "takes (cpu.bin, fpga.cl, portable.cl)" in text


def test_a_daemon_without_opencl_says_what_to_set(tmp_path: Path) -> None:
    write_kernel(tmp_path / "repository", "twice", TWICE)
    with running(tmp_path) as plain:
        assert "set spark.accel.device to a device that" in load_refused(plain, "twice")
