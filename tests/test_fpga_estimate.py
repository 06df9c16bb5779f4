"""Predictions for FPGA boards: what is computed from the engine's trips, limits of boards, the command line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plans import random_plan
from typer.testing import CliRunner

from spark_accel.cli.main import app
from spark_accel.errors import ConfigurationError
from spark_accel.fpga import boards, builder, estimate, memory, report, resnets, search, stages
from spark_accel.fpga.engine import Engine
from spark_accel.fpga.estimate import Design, Estimate

STRATIX = boards.board("stratix10")
ENGINE = Engine(vec=16, lanes=64, pix=7, drain=1, words=2**20, weight_words=512, pool_columns=64)


def predicted(network: str = "resnet50", board: boards.Board = STRATIX, **changes: object) -> Estimate:
    design = replace(Design(ENGINE, 1, 4, 300.0), **changes)  # type: ignore[arg-type]
    found = stages.stages(resnets.plan(network), design.engine)
    return estimate.estimate(found, board, design, memory.layout(found, design.engine, design.group))


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["fpga", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return str(result.output)


@pytest.mark.parametrize(
    ("network", "gmac", "layers"),
    [("resnet50", 3.86, 54), ("resnet50-v1.5", 4.09, 54), ("resnet101", 7.57, 105), ("resnet152", 11.3, 156)],
)
def test_networks_have_the_products_that_are_published(network: str, gmac: float, layers: int) -> None:
    found = stages.stages(resnets.plan(network), ENGINE)

    assert len(found) == layers
    assert sum(stages.real_products(stage) for stage in found) / 1e9 == pytest.approx(gmac, rel=0.005)


@pytest.mark.parametrize(("network", "useful"), [("resnet50", 0.91), ("resnet50-v1.5", 0.91), ("resnet152", 0.93)])
def test_most_of_the_array_works_on_what_the_network_asks_for(network: str, useful: float) -> None:
    assert useful < predicted(network).efficiency < 1


def test_cycles_do_not_depend_on_the_clock_where_memory_is_fast_enough() -> None:
    fast_memory = replace(STRATIX, memory_gb_s=1e6)

    slow, fast = (predicted(board=fast_memory, clock_mhz=clock) for clock in (200.0, 400.0))

    assert fast.cycles_of_group == slow.cycles_of_group
    assert fast.images_per_second == pytest.approx(2 * slow.images_per_second)
    assert fast.latency_ms == pytest.approx(slow.latency_ms / 2)


def test_slow_memory_makes_layers_wait_for_their_weights() -> None:
    starved = predicted(board=replace(STRATIX, memory_gb_s=1.0), group=1)

    assert {layer.name for layer in starved.layers if layer.waiting} >= {"conv5_block3_2", "fc"}
    assert starved.latency_ms > predicted(group=1).latency_ms
    assert starved.external_share == pytest.approx(1.0, abs=0.05)


def test_images_are_computed_no_faster_than_they_come_from_the_host() -> None:
    starved = predicted(board=replace(STRATIX, host_gb_s=0.1))

    assert starved.host_share == pytest.approx(1.0)
    assert starved.images_per_second == pytest.approx(predicted().images_per_second / predicted().host_share * 0.1 / 12)
    assert starved.external_gb_s < predicted().external_gb_s


def test_a_group_reads_the_late_layers_weights_once() -> None:
    alone, together = predicted(group=1), predicted(group=4)

    assert together.external_gb_s / together.images_per_second < alone.external_gb_s / alone.images_per_second / 2


@pytest.mark.parametrize("name", boards.names())
def test_the_design_that_is_found_keeps_within_the_board(name: str) -> None:
    board = boards.board(name)

    for found in (search.fastest(resnets.plan("resnet50"), board, batch=batch) for batch in (1, 128)):
        assert found.dsps <= board.dsps * estimate.MOST_DSPS
        assert found.memory_share <= estimate.MOST_MEMORY
        assert found.external_share <= 1
        assert found.design.engines % board.dies == 0 or found.design.engines < board.dies


def test_what_one_board_s_search_has_laid_out_is_found_again_by_the_next() -> None:
    for name in boards.names():
        search.fastest(resnets.plan("resnet50"), boards.board(name))
    before = estimate._placed.cache_info().misses

    search.fastest(resnets.plan("resnet50"), replace(STRATIX, name="another", clock_mhz=200.0))

    assert estimate._placed.cache_info().misses == before


def test_no_design_of_the_search_is_faster_than_the_one_it_finds() -> None:
    plan = resnets.plan("resnet50")

    best, quickest = (search.fastest(plan, STRATIX, batch=batch) for batch in (128, 1))

    for other in search.fitting(plan, STRATIX):
        assert other.images_per_second <= best.images_per_second
        assert other.latency_ms >= quickest.latency_ms


def test_an_engine_too_large_for_a_board_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"no engine with vec 32 and lanes 128 fits Intel Arria 10.*1518 DSPs"):
        search.fastest(resnets.plan("resnet50"), boards.board("arria10"), vec=32, lanes=128)


def test_a_board_can_be_a_file(tmp_path: Path) -> None:
    row = json.loads(Path(boards.__file__).with_name("boards.json").read_text())["stratix10"]
    (tmp_path / "half.json").write_text(json.dumps({**row, "dsps": 2880}))

    half = boards.board(str(tmp_path / "half.json"))

    assert (half.name, half.dsps) == ("half", 2880)
    plan = resnets.plan("resnet50")
    assert search.fastest(plan, half).images_per_second < search.fastest(plan, STRATIX).images_per_second


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"dsps": 0}, "dsps is 0, expected a whole number above 0"), ({"clock_mhz": "300"}, "clock_mhz is '300'"),
     ({"speed": 3}, "is no board: .*speed"), ({"memories": [{"name": "M20K"}]}, "is no board: .*blocks"),
     ({"memories": None}, "is no board"), ({"dsps": True}, "dsps is True, expected a whole number"),
     ({"dsps": 5760.5}, "dsps is 5760.5, expected a whole number"), ({"dies": 1.5}, "dies is 1.5, expected a whole"),
     ({"title": ["a"]}, r"title is \['a'\], expected a text"), ({"packing": {}}, "packing is {}, expected a text"),
     ({"title": "\ud800"}, "expected a text of one line"),
     ({"memories": [{"name": ["a"], "blocks": 1, "width": 1, "depth": 1}]}, r"name is \['a'\], expected a text")],
)  # fmt: skip
def test_a_file_that_is_no_board_is_an_error_that_names_what_is_wrong(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    row = json.loads(Path(boards.__file__).with_name("boards.json").read_text())["stratix10"]
    (tmp_path / "b.json").write_text(json.dumps(row | change))

    with pytest.raises(ConfigurationError, match=reason):
        boards.board(str(tmp_path / "b.json"))


def test_an_unknown_board_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="board 'stratix': expected arria10, stratix10, agilex"):
        boards.board("stratix")


def test_the_command_shows_each_layer_and_the_limits() -> None:
    text = run("estimate", "--network", "resnet50", "--board", "agilex", "--vec", "16", "--lanes", "64")

    assert "Every figure is predicted" in text
    for shown in ("conv4_block6_2", "fc", "images/s at batch 128", "latency of one image", "DSPs", "external memory"):
        assert shown in text


@pytest.mark.parametrize(("name", "target"), [("stratix10", "intel:BOARD"), ("alveo-u250", "xilinx:PLATFORM")])
def test_the_command_prints_the_line_that_builds_the_design(name: str, target: str) -> None:
    (line,) = (one for one in run("estimate", "--board", name).splitlines() if "kernels build" in one)
    found = json.loads(run("estimate", "--board", name, "--json"))

    command, *defines = line.split(" --define ")
    assert command == f"spark-accel kernels build --target {target}"
    assert dict(one.split("=") for one in defines) == {key: str(value) for key, value in found["macros"].items()}


@pytest.mark.parametrize("name", boards.names())
@pytest.mark.parametrize("batch", [1, 128])
def test_the_engine_that_is_built_with_the_designs_macros_has_room_for_the_network(name: str, batch: int) -> None:
    found = search.fastest(resnets.plan("resnet50"), boards.board(name), batch=batch)

    tier = builder.tier("network", report.macros(found), "board")
    engine = Engine.from_defines(tier.defines)

    assert (engine.vec, engine.lanes, engine.drain) == (
        found.design.engine.vec, found.design.engine.lanes, found.design.engine.drain,
    )  # fmt: skip
    laid_out = memory.layout(stages.stages(resnets.plan("resnet50"), engine), engine, tier.defines["GROUP"])
    assert laid_out == found.layout


@pytest.mark.parametrize("side", [33, 300])
def test_that_of_larger_images_has_room_for_their_pooled_rows(side: int) -> None:
    plan = random_plan(np.random.default_rng(0), height=side, width=side)

    tier = builder.tier("network", report.macros(search.fastest(plan, STRATIX, vec=8, lanes=8)), "board")

    assert stages.stages(plan, Engine.from_defines(tier.defines))


@pytest.mark.parametrize("asked", [(), ("--vec", "8", "--lanes", "16")])
def test_a_board_far_larger_than_any_is_searched_as_fast(tmp_path: Path, asked: tuple[str, ...]) -> None:
    row = json.loads(Path(boards.__file__).with_name("boards.json").read_text())["stratix10"]
    much = 999_999_999
    memories = [memory | {"blocks": much} for memory in row["memories"]]
    (tmp_path / "b.json").write_text(json.dumps(row | {"dsps": much, "products_per_dsp": much, "memories": memories}))

    found = json.loads(run("estimate", "--board", str(tmp_path / "b.json"), "--json", *asked))

    assert found["design"]["engines"] > 1000
    assert found["dsp_share"] <= estimate.MOST_DSPS
    assert found["memory_share"] <= estimate.MOST_MEMORY


def test_what_looks_like_markup_is_shown_as_it_is(tmp_path: Path) -> None:
    row = json.loads(Path(boards.__file__).with_name("boards.json").read_text())["stratix10"]
    memories = [memory | {"name": f"{memory['name']}[/x]"} for memory in row["memories"]]
    changed = row | {"title": "a [/red] board", "packing": "[/two]", "memories": memories}
    (tmp_path / "b.json").write_text(json.dumps(changed))

    text = run("estimate", "--board", str(tmp_path / "b.json"), "--vec", "16", "--lanes", "64")

    for shown in ("resnet50 on a [/red] board", "DSPs ([/two])", "[/x]"):
        assert shown in text


def test_the_command_prints_json_that_says_that_it_predicts() -> None:
    found = json.loads(run("estimate", "--board", "alveo-u250", "--clock", "250", "--json"))

    assert found["predicted"] is True
    assert found["design"]["clock_mhz"] == 250
    assert len(found["layers"]) == 54
    assert 0 < found["images_per_second"] < 2550


def test_the_page_of_boards_calls_each_figure_predicted() -> None:
    text, _ = run("boards").split("## Published")

    rows = [line for line in text.splitlines() if line.startswith("| ") and " MHz" in line]
    assert len(rows) >= len(boards.names())
    assert all("predicted" in row for row in rows)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--batch", "8"], "--batch is 8: expected 1"),
        (["--clock", "0"], "--clock is 0"),
        (["--board", "x"], "board 'x'"),
        (["--board", "x" * 5000], "expected arria10, stratix10, agilex"),
        (["--network", "resnet5"], "model 'resnet5' is not in the repository"),
    ],
)
def test_wrong_options_are_errors(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app(["fpga", "estimate", *arguments], standalone_mode=False)

    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "options", "reason"),
    [
        ("missing/page.md", [], "missing/page.md: No such file or directory"),
        (".", [], "Is a directory"),
        ("latin-1.md", ["--check"], "latin-1.md is not what the model predicts"),
    ],
)
def test_a_page_that_can_not_be_written_or_is_another_is_an_error(
    tmp_path: Path, file: str, options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "latin-1.md").write_bytes(b"caf\xe9")

    with pytest.raises(SystemExit):
        app(["fpga", "boards", "--markdown", str(tmp_path / file), *options], standalone_mode=False)

    assert reason in capsys.readouterr().err


def test_a_check_without_a_page_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app(["fpga", "boards", "--check"], standalone_mode=False)

    assert "--check needs --markdown FILE" in capsys.readouterr().err
