"""Which bitstreams a daemon loads by itself when it starts."""

import os
from pathlib import Path

import pytest

from spark_accel.daemon import installed_bitstreams
from spark_accel.fpga import bitstream, builder

STRATIX, AGILEX = "pac_s10_dc", "ia840f"


def install(repository: Path, name: str, time: int, board: str = STRATIX, family: str = "network") -> Path:
    """Puts a version of a bitstream there, written `time` seconds after 1970."""
    facts = builder.facts_of(family, builder.tier(family, {}, board), board, 0.0)
    folder = builder.install(b"xclbin2" + bytes(600), facts, name, repository)
    os.utime(folder / bitstream.FACTS, (time, time))
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "repository"


def test_of_each_family_the_latest_and_the_others_for_when_it_cannot_be_loaded(repository: Path) -> None:
    install(repository, "a", time=3)
    install(repository, "b", time=5)
    install(repository, "c", time=4, family="kmeans")

    assert installed_bitstreams.for_boards(repository, {STRATIX}) == [["c"], ["b", "a"]]


def test_the_version_that_would_be_served_counts(repository: Path) -> None:
    install(repository, "a", time=1)
    install(repository, "a", time=9)
    (repository / "a" / "config.pbtxt").write_text('backend: "bitstream" version_policy { specific { versions: 1 } }')
    install(repository, "b", time=5)

    assert installed_bitstreams.for_boards(repository, {STRATIX}) == [["b", "a"]]


def test_each_board_gets_its_own(repository: Path) -> None:
    install(repository, "a", time=1, board=STRATIX)
    install(repository, "b", time=2, board=AGILEX)

    assert installed_bitstreams.for_boards(repository, {STRATIX, AGILEX}) == [["a"], ["b"]]
    assert installed_bitstreams.for_boards(repository, {AGILEX}) == [["b"]]
    assert installed_bitstreams.for_boards(repository, {"another"}) == []


def test_what_is_no_bitstream_or_cannot_be_read_is_left_out(repository: Path) -> None:
    install(repository, "a", time=1)
    (install(repository, "damaged", time=2) / bitstream.FACTS).write_text("{}")
    (repository / "no-version").mkdir()
    (repository / "no-version" / "config.pbtxt").write_text('backend: "bitstream"')
    (repository / "identity" / "1").mkdir(parents=True)
    (repository / "identity" / "config.pbtxt").write_text('backend: "identity"')
    (repository / "empty").mkdir()

    assert installed_bitstreams.for_boards(repository, {STRATIX}) == [["a"]]


def test_a_board_is_meant_by_the_name_that_its_compiler_has_for_it(repository: Path) -> None:
    install(repository, "a", time=1, board="pac_s10_dc")

    assert installed_bitstreams.for_boards(repository, {"pac_s10_dc : Intel PAC Platform (pac_ec00000)"}) == [["a"]]
    assert installed_bitstreams.for_boards(repository, {"pac_s10_dc_2 : Intel PAC Platform"}) == []


def test_a_repository_that_is_not_there_has_none(repository: Path) -> None:
    assert installed_bitstreams.for_boards(repository, {STRATIX}) == []
