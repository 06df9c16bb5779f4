"""Bitstreams go into the repository, and are read from it, only as what the daemon can load; no emulator is needed."""

import errno
import itertools
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from spark_accel.cli.main import app
from spark_accel.errors import ModelError
from spark_accel.fpga import bitstream, builder, macros
from spark_accel.fpga.bitstream import Bitstream
from spark_accel.networks import staging

BINARY = b"xclbin2" + bytes(500)


def facts_of(family: str) -> Bitstream:
    """What is known of a bitstream of this family."""
    return builder.facts_of(family, builder.tier(family, {}, "board"), "board", 0.0)


FACTS = facts_of("network")


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A version folder with a sound bitstream."""
    return builder.install(BINARY, FACTS, "engine", tmp_path / "r")


def rewritten(version: Path, **changes: object) -> Path:
    """The folder, whose description has these changes."""
    path = version / bitstream.FACTS
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return version


def command_refuses(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command that is refused says."""
    with pytest.raises(SystemExit):
        app(["kernels", *arguments], standalone_mode=False)
    return capsys.readouterr().err


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/b", ".hidden", "a b", "a\n", "", "kmeans_lloyd"])
def test_a_name_that_no_model_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"can't be used|is a built-in model"):
        builder.install(BINARY, FACTS, name, tmp_path / "r")

    assert not list(tmp_path.iterdir())


def test_a_built_in_models_name_is_refused_before_anything_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--target", "emulator", "--name", "kmeans_lloyd", "--repository", str(tmp_path / "r"))

    assert "'kmeans_lloyd' is a built-in model; take another name" in command_refuses(capsys, "build", *arguments)
    assert not list(tmp_path.iterdir())


WRONG = [
    ({"clock_mhz": float("nan")}, "clock_mhz is nan, expected MHz"),
    ({"clock_mhz": -5.0}, "clock_mhz is -5.0"),
    ({"clock_mhz": 1e30}, "clock_mhz is 1e+30"),
    ({"clock_mhz": True}, "clock_mhz is True"),
    ({"board": ""}, "board is ''"),
    ({"board": "b" * 1001}, "expected a text of 1 to 999 characters"),
    ({"board": "\ud800"}, "board is '\\ud800'"),
    ({"kernels": ()}, "kernels are none"),
    ({"family": "../../.."}, "family is '../../..', expected one of kmeans, logistic, naive_bayes"),
    ({"family": "."}, "family is '.'"),
    ({"family": "/etc"}, "family is '/etc'"),
    ({"defines": FACTS.defines | {"LANES": 7}}, "LANES (7) must be a multiple of VEC (16)"),
    ({"defines": FACTS.defines | {"LANES": 1}}, "LANES (1) must be a multiple of VEC (16)"),
    ({"defines": FACTS.defines | {"LANES": True}}, "macro LANES is True"),
    ({"defines": FACTS.defines | {"PIX": 2**31 - 1}}, "macro PIX is 2147483647, expected a number from 1 to 1024"),
    ({"defines": {"LANES": 16}}, "the macros are not those of this version's kernels"),
]


@pytest.mark.parametrize(("changes", "reason"), WRONG)
def test_what_reading_would_refuse_is_not_installed(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    facts = replace(FACTS, **changes)  # type: ignore[arg-type]

    with pytest.raises(ModelError) as caught:
        builder.install(BINARY, facts, "engine", tmp_path / "r")

    assert reason in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        *WRONG,
        ({"kernels": "maps"}, "kernels are 'maps', expected a list of names"),
        ({"size": True}, "size is True"),
        ({"size": 2**31 + 1}, "size is 2147483649"),
        ({"sha256": 5}, "SHA-256 5"),
    ],
)
def test_a_description_that_is_not_sound_is_refused(version: Path, changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ModelError, match="describes no bitstream") as caught:
        bitstream.read(rewritten(version, **changes))

    assert reason in str(caught.value)


@pytest.mark.parametrize("binary", [b"\x7fELF", b"xclbin2", b"\x7fELF" + bytes(40), b"nothing" * 100])
def test_a_file_without_the_header_of_a_bitstream_is_refused(tmp_path: Path, binary: bytes) -> None:
    with pytest.raises(ModelError, match="this is no bitstream"):
        builder.install(binary, FACTS, "engine", tmp_path / "r")


@pytest.mark.parametrize(("held", "given"), list(itertools.permutations(macros.tiers(), 2)))
def test_a_file_with_another_familys_kernels_is_refused_with_its_family(tmp_path: Path, held: str, given: str) -> None:
    file = BINARY + " ".join(facts_of(held).kernels).encode()

    with pytest.raises(ModelError, match=f"has the kernels of '{held}', not those of '{given}': give --family {held}"):
        builder.install(file, facts_of(given), "engine", tmp_path / "r")

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("family", macros.tiers())
def test_a_file_with_its_own_familys_kernels_is_installed_whatever_else_it_has(tmp_path: Path, family: str) -> None:
    every = {kernel for one in macros.tiers() for kernel in facts_of(one).kernels}

    for kernels in (facts_of(family).kernels, every):
        file = BINARY + " ".join(kernels).encode()
        assert builder.install(file, facts_of(family), "engine", tmp_path / "r").is_dir()


def test_only_a_plain_file_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("/dev/zero", "--board", "b", "--repository", str(tmp_path / "r"))

    assert "/dev/zero is no bitstream: expected a file" in command_refuses(capsys, "install", *arguments)


def test_a_file_too_large_for_a_bitstream_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "engine.aocx").open("wb") as file:
        file.truncate(bitstream.MAX_BYTES)

    with pytest.raises(ModelError, match="expected a file of less than 2,147,483,648 bytes"):
        builder.artifact(tmp_path / "engine.aocx")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--define", "LANES=7"], "--define: LANES (7) must be a multiple of VEC (16)"),
        (["--define", "VEC=0"], "--define is 'VEC=0': expected NAME=NUMBER"),
        (["--define", f"LANES={'9' * 5000}"], "--define is 'LANES=999"),
        (
            ["--family", "../network"],
            "--family is '../network': expected one of kmeans, logistic, naive_bayes, network",
        ),
        (["--family", ""], "--family is ''"),
        (["--clock", "nan"], "clock_mhz is nan"),
    ],
)
@pytest.mark.parametrize("command", ["install", "build"])
def test_wrong_options_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, arguments: list[str], reason: str
) -> None:
    (tmp_path / "engine.xclbin").write_bytes(BINARY)
    first = {"install": [str(tmp_path / "engine.xclbin"), "--board", "b"], "build": ["--target", "xilinx:u250"]}

    text = command_refuses(capsys, command, *first[command], *arguments, "--repository", str(tmp_path / "r"))

    assert reason in text
    assert not (tmp_path / "r").exists()


def test_sources_that_can_not_be_written_are_an_error_that_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spark-accel-network").write_text("a file")

    text = command_refuses(capsys, "build", "--target", "intel:x", "--repository", str(tmp_path / "r"))

    assert "spark-accel-network/network.cl can't be written: File exists" in text


def test_installs_at_once_all_become_versions(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as clients:
        for round_ in range(20):
            name = f"engine{round_}"
            installing = [clients.submit(builder.install, BINARY, FACTS, name, tmp_path) for _ in range(8)]
            assert sorted(int(one.result().name) for one in installing) == list(range(1, 9))


def test_the_next_version_keeps_the_models_configuration(version: Path) -> None:
    config = version.parent / "config.pbtxt"
    config.write_text(f"{config.read_text()}\nversion_policy {{ latest {{ num_versions: 2 }} }}")
    written = config.read_text()

    second = builder.install(BINARY, FACTS, "engine", version.parent.parent)

    assert second.name == "2"
    assert config.read_text() == written


def test_one_for_another_board_takes_another_name(version: Path) -> None:
    with pytest.raises(
        ModelError, match=r"'engine' in .* is a bitstream for board 'board', .* give this one, for 'other',"
    ):
        builder.install(BINARY, replace(FACTS, board="other"), "engine", version.parent.parent)

    builder.install(BINARY, replace(FACTS, board="board : as its driver calls it"), "engine", version.parent.parent)
    assert staging.versions(version.parent) == [1, 2]


def test_after_the_last_version_that_there_can_be_none_is_installed(version: Path) -> None:
    last = version.rename(version.parent / str(10**18 - 1))

    with pytest.raises(ModelError, match="has version 999999999999999999, the last that there can be"):
        builder.install(BINARY, FACTS, "engine", version.parent.parent)

    assert staging.versions(version.parent) == [int(last.name)]


@pytest.mark.parametrize(
    ("number", "text"),
    [(errno.ENOSPC, r"No space left on device; \d+ MiB are free$"), (errno.ENOTEMPTY, "Directory not empty$")],
)
def test_free_space_is_told_only_where_it_is_what_lacks(tmp_path: Path, number: int, text: str) -> None:
    with pytest.raises(ModelError, match=f"can't be written: {text}"), staging.staging(tmp_path):
        raise OSError(number, os.strerror(number))


def test_a_bitstream_is_read_as_it_was_installed(version: Path) -> None:
    found = bitstream.read(version)

    assert found == Bitstream("network", "board", FACTS.kernels, FACTS.defines, 0.0, len(BINARY), found.sha256)
    assert bitstream.binary(version, found) == BINARY
