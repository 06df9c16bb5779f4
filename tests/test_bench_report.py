"""What `spark-accel bench report` makes of results: one page of several files, and the same on a terminal."""

import re
from pathlib import Path
from typing import Any

import pytest
from test_bench import told, turn

from spark_accel.bench import fit_tables, machine, markdown, network_tables, page, plots, results, terminal
from spark_accel.bench.shown import Headline, headline_table

PUBLISHED = Path(__file__).parents[1] / "benchmarks" / "results"


def network(*others: str, profile: bool = False) -> dict[str, Any]:
    """A result of the bench `resnet50`, in which ours takes half as long as the others."""
    layer = {"name": "conv1", "kind": "convolution", "seconds": 1.0, "multiplications": 10}
    return {
        "network": "n", "rounds": 1, "random_weights": False, "skipped": [], "price_per_hour": 0.0,
        "power": {"nominal": False, "source": ""},
        "profile": {"layers": [layer], "batch": 1, "limit": None} if profile else None,
        "contenders": [
            {"title": title, "about": "", "failed": "", "top1": None, "turns": {"16": [turn(5, seconds)]}}
            for title, seconds in (("spark-accel int8", 0.5), *((other, 1.0) for other in others))
        ],
    }  # fmt: skip


def daemon(*times: float) -> dict[str, Any]:
    """A result that brings its headlines."""
    return {"headlines": [{"what": "requests/s", "against": "Triton", "times": one} for one in times]}


def document(processor: str = "P", **benches: dict[str, Any]) -> dict[str, Any]:
    return results.document(machine.facts(1) | {"processor": processor}, benches)


def headings(html: str) -> list[str]:
    return re.findall(r"<h\d>(.*?)</h\d>", html)


def test_files_of_one_machine_share_a_chart_and_each_heading_below_names_its_bench() -> None:
    html = page.page([("a.json", document(daemon=daemon(0.5))), ("b.json", document(resnet50=network("other")))])

    first, computer, *below = headings(html)
    assert first == "How many times as fast is spark-accel?"
    assert computer.startswith("P, 1 of ")
    network_alone = "The network alone (resnet50)"
    assert below == [
        f"{network_alone}: throughput by batch",
        f"{network_alone}: every figure",
        "Requests (daemon): every figure",
    ]
    bars = html.split("<svg")[1]
    assert bars.index("Requests (daemon)") < bars.index(network_alone), "the axis goes upwards"


def test_files_of_two_machines_have_a_chart_each() -> None:
    html = page.page([(name, document(name, daemon=daemon(2.0))) for name in ("old", "new")])

    assert [one.split(",")[0] for one in headings(html) if " cores" in one] == ["old", "new"]
    assert html.count("<svg") == 2


def test_a_bench_that_two_files_have_stands_under_the_name_of_each() -> None:
    html = page.page([(name, document(daemon=daemon(2.0))) for name in ("old.json", "new.json")])

    assert headings(html)[2:] == [f"Requests (daemon), {name}.json: every figure" for name in ("old", "new")]


def test_with_nothing_compared_the_page_says_so_instead_of_what_colours_mean() -> None:
    html = page.page([("a.json", document(resnet50=network()))])

    assert "nothing was measured beside spark-accel" in html
    assert "Grey" not in html


def test_what_was_slower_in_one_round_and_faster_in_another_is_grey_and_has_its_range() -> None:
    ours_and_theirs = [Headline("w", "a", 1.2, 0.9, 1.5), Headline("w", "b", 0.9, 0.8, 1.1), Headline("w", "c", 0.5)]

    bars = [plots.headline_bars([("", [one])]) for one in ours_and_theirs]

    assert [plots._UNDECIDED in one for one in bars] == [True, True, False]
    assert [row[2] for row in headline_table(ours_and_theirs).rows] == [
        "1.20 (rounds from 0.90 to 1.50)",
        "0.90 (slower; rounds from 0.80 to 1.10)",
        "0.50 (slower)",
    ]


def test_how_many_times_as_fast_in_latency_is_the_middle_of_what_the_rounds_say() -> None:
    def calls(*rounds: tuple[float, int]) -> dict[str, Any]:
        turns = [turn(count, 1.0) | {"milliseconds": [each] * count} for each, count in rounds]
        return {"title": "", "turns": {"1": turns}}

    # As fast in each round, of which the machine was slower in one; an interrupt has cost theirs the last.
    ours, theirs = calls((10.0, 4), (20.0, 2), (20.0, 2), (20.0, 2)), calls((10.0, 4), (20.0, 2), (20.0, 2))

    latency = network_tables.headlines({"contenders": [ours, theirs]})[-1]

    assert (latency.times, latency.least, latency.most) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("limit", "above"), [(5.0, True), (20.0, False), (None, False)])
def test_the_plot_of_the_layers_says_how_some_can_be_above_the_limit(limit: float | None, above: bool) -> None:
    profile = network(profile=True)["profile"] | {"limit": limit}

    drawn = plots.layers(profile)

    assert ("Winograd" in drawn) == above
    assert ("red line: limit" in drawn) == (limit is not None)


def test_the_terminal_ends_with_how_many_times_as_fast_ours_is(capsys: pytest.CaptureFixture[str]) -> None:
    given = document(resnet50=network("other"), daemon=daemon(0.5))

    terminal.show(given, layers=False)

    printed = capsys.readouterr().out
    assert printed.index("network only") < printed.index("How many times as fast") < printed.index("machine: ")
    assert re.search(r"batch 16\s+other\s+2.00", printed)
    assert "### How many times as fast" in markdown.page([("a.json", given)])


def test_a_report_prints_no_layers(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    results.write(document(resnet50=network(profile=True)), file)

    assert "time by layer" not in told("report", file).stdout


def test_results_from_before_the_blas_of_stock_was_noted_say_nothing_of_it() -> None:
    old = dict(results.read(PUBLISHED / "epyc-zen3-kmeans.json")["benches"]["kmeans"])
    old.pop("blas", None)

    assert "BLAS" not in str(fit_tables.tables(old))
    assert "stock MLlib's BLAS: VectorBLAS" in fit_tables.tables(old | {"blas": "VectorBLAS"})[0].notes


def test_fits_say_which_precision_ours_had() -> None:
    old = results.read(PUBLISHED / "epyc-zen3-kmeans.json")["benches"]["kmeans"]

    titles = [fit_tables.tables(old | more)[0].title for more in ({"precision": "float64"}, {})]

    assert ["float64" in title for title in titles] == [True, False]
    assert "float32" in titles[1]


def test_a_machine_that_others_used_as_well_is_told_where_that_was_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (3.52, 1.0, 0.5))

    facts = machine.facts(1)
    old = {name: fact for name, fact in facts.items() if name != "load"}

    assert terminal.about(facts)[0].endswith(", load 3.5 when it began")
    assert "load" not in terminal.about(old)[0]
