"""What `spark-accel bench` has measured is neither lost nor bent by what goes wrong besides."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest
from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException, PythonException
from test_bench import launched, run, told, turn

from spark_accel.bench import (
    fits,
    machine,
    network_tables,
    random_network,
    results,
    spark_inference,
    spark_udfs,
    terminal,
)
from spark_accel.bench.network_inputs import NetworkInputs, prepare
from spark_accel.bench.options import Options
from spark_accel.bench.shown import Table
from spark_accel.errors import ConfigurationError


def contender(title: str, *batches: str) -> dict[str, Any]:
    return {
        "title": title,
        "about": "",
        "failed": "",
        "top1": None,
        "turns": {batch: [turn(5, 1.0)] for batch in batches},
    }


def test_networks_in_udfs_get_full_batches_however_spark_cuts_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(spark_udfs, "_decode", lambda cell: cell)

    def network(images: Any) -> Any:  # noqa: ANN401 - arrays
        sizes.append(len(images))
        return images

    series = [pd.Series(range(37)), pd.Series(range(37, 38)), pd.Series(range(38, 80))]
    found = pd.concat(list(spark_udfs._on_series(lambda: network).func(iter(series))))

    assert found.tolist() == list(range(80))
    assert sizes == [32, 32, 16]


def test_a_bench_that_is_interrupted_keeps_those_that_have_ended(tmp_path: Path) -> None:
    network = random_network.write(tmp_path / "tiny.onnx", side=32, thinner=8, stages=1, classes=5)
    file = tmp_path / "result.json"
    size = ("--rounds", "1", "--seconds", "0.05", "--batches", "1", "--scale", "0.002", "--threads", "1")
    arguments = ("all", "--model", network, "--peers", "none", *size, "--json", file)
    bench = launched("== kmeans", *arguments)

    bench.send_signal(signal.SIGINT)
    printed, _ = bench.communicate(timeout=100)

    assert bench.returncode == 130
    assert list(results.read(file)["benches"]) == ["resnet50"]
    assert "network only (tiny.onnx)" in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ("resnet50", "--model", "{network}", "--batches", "1", "--seconds", "0.05"),
        pytest.param(("naive-bayes", "--scale", "0.002"), marks=pytest.mark.spark),
        pytest.param(("spark", "--model", "{network}", "--scale", "0.05"), marks=pytest.mark.spark),
    ],
)
def test_rounds_that_had_ended_before_an_interrupt_are_a_result_that_says_so(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    network = random_network.write(tmp_path / "tiny.onnx", side=32, thinner=8, stages=1, classes=5)
    file = tmp_path / "result.json"
    asked = ("--rounds", "100000", "--peers", "none", "--threads", "1", "--json", file)
    bench = launched("round 2 of", *(text.format(network=network) for text in arguments), *asked)

    bench.send_signal(signal.SIGINT)
    printed, said = bench.communicate(timeout=100)

    assert bench.returncode == 130
    assert "Traceback" not in said
    assert results.read(file)["benches"][arguments[0]]["interrupted"]
    assert "interrupted: these are the rounds that had ended before" in printed


def test_an_interrupt_before_a_round_has_ended_says_that_there_is_no_result(tmp_path: Path) -> None:
    network = random_network.write(tmp_path / "tiny.onnx", side=32, thinner=8, stages=1, classes=5)
    file = tmp_path / "result.json"
    asked = ("--seconds", "500", "--peers", "none", "--threads", "1", "--model", network, "--json", file)
    bench = launched("round 1 of", "resnet50", *asked)

    bench.send_signal(signal.SIGINT)
    _, said = bench.communicate(timeout=100)

    assert "resnet50: interrupted before a round had ended: there is no result" in said
    assert not file.exists()


def test_where_results_can_not_be_written_the_file_keeps_what_it_held(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    results.write(results.document({}, {}), file)
    before = file.read_bytes()
    program = (
        "import resource, sys; from pathlib import Path; from spark_accel.bench import results;"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (8, {resource.RLIM_INFINITY}));"
        "results.write(results.document({'processor': 'x' * 1000}, {}), Path(sys.argv[1]))"
    )

    done = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=False)

    assert f"ConfigurationError: {file} can't be written: File too large" in done.stderr
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(("option", "other"), [("--json", "--html"), ("--html", "--json")])
def test_where_one_file_can_not_be_written_the_other_is(option: str, other: str, tmp_path: Path) -> None:
    file = tmp_path / "other"

    done = run("kmeans", "--device", "reference", option, "/dev/full", other, file)

    assert done.returncode == 1
    assert "/dev/full can't be written: No space left on device; failed: kmeans" in done.stderr.splitlines()[-1]
    assert "choose an OpenCL device with --device" in file.read_text()


def test_results_and_pages_are_not_written_into_one_file(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    results.write(results.document(machine.facts(1), {}), file)
    before = file.read_bytes()

    ways = [
        ("kmeans", "--json", file, "--html", file),
        *(("report", file, one, file) for one in ("--markdown", "--html")),
    ]
    done = [told(*way) for way in ways]

    said = f"spark-accel: {file} is named twice: results and each page need a file of their own\n"
    assert [one.stderr for one in done] == [said] * 3
    assert file.read_bytes() == before


@pytest.mark.parametrize("option", ["--markdown", "--html"])
def test_a_page_that_can_not_be_written_is_one_line(option: str, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    results.write(results.document(machine.facts(1), {}), file)

    done = told("report", file, option, "/dev/full")

    assert done.stderr == "spark-accel: /dev/full can't be written: No space left on device\n"


def test_results_go_into_what_is_no_file() -> None:
    results.write(results.document({}, {}), Path("/dev/null"))

    assert Path("/dev/null").is_char_device()
    with pytest.raises(ConfigurationError, match="No space left"):
        results.write(results.document({}, {}), Path("/dev/full"))


@pytest.mark.parametrize(
    "text",
    [
        '{"format": 1}',
        '{"format": 1, "about": [], "benches": {}}',
        "[]",
        "{",
        pytest.param("[" * 100_000, id="nested too deeply"),
    ],
)
def test_a_file_without_results_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text(text)

    done = told("report", file)

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert str(file) in line


@pytest.mark.parametrize(
    ("contenders", "way"),
    [
        ("x", ()),
        (1, ()),
        ([[]], ()),
        ([contender("ours", "1")], ()),
        ([contender("ours", "1")], ("--html", "{tmp}/page.html")),
        ([contender("ours", "1")], ("--markdown", "{tmp}/page.md")),
    ],
)
def test_damaged_results_are_refused_in_one_line_that_names_the_file(
    contenders: object, way: tuple[str, ...], tmp_path: Path
) -> None:
    result = {"contenders": contenders, "network": "n", "skipped": []}  # without its profile and more
    file = tmp_path / "damaged.json"
    results.write(results.document(machine.facts(1), {"resnet50": result}), file)

    done = told("report", file, *(text.format(tmp=tmp_path) for text in way))

    assert done.returncode == 1
    assert done.stderr.startswith(f"spark-accel: {file} can't be shown")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [file]


def test_a_table_of_results_that_has_other_things_than_text_is_damaged() -> None:
    with pytest.raises(TypeError, match="the table 'of one' has what is not text"):
        Table("of one", ["", "n"], [["one", 1]])  # type: ignore[list-item]


def test_what_only_the_plots_need_is_asked_for_as_well(tmp_path: Path) -> None:
    layer = {"name": "c", "kind": "unheard of", "seconds": 1.0, "multiplications": 1}
    result = {
        "contenders": [contender("ours", "1")],
        "network": "n", "rounds": 1, "random_weights": False, "skipped": [], "price_per_hour": 0,
        "profile": {"layers": [layer], "batch": 1, "limit": None},
    }  # fmt: skip
    file = tmp_path / "damaged.json"
    results.write(results.document(machine.facts(1), {"resnet50": result}), file)

    done = told("report", file, "--html", tmp_path / "page.html")

    assert done.stderr.startswith(f"spark-accel: {file} can't be shown")
    assert done.stderr.count("\n") == 1


def test_a_check_writes_nothing(tmp_path: Path) -> None:
    file, text, page = tmp_path / "result.json", tmp_path / "page.md", tmp_path / "page.html"
    results.write(results.document(machine.facts(1), {}), file)

    done = told("report", file, "--check", "--markdown", text, "--html", page)

    assert done.stderr == f"spark-accel: {text} does not exist: without --check it is made\n"
    assert list(tmp_path.iterdir()) == [file]


def test_a_check_needs_the_page_that_it_is_of(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    results.write(results.document(machine.facts(1), {}), file)

    assert told("report", file, "--check").stderr.startswith("spark-accel: --check needs --markdown FILE")


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    result = {"title": "of [/x]", "columns": ["", "n"], "rows": [["net[v2].onnx", "[red]1"]], "notes": []}
    bench = {"contenders": [], "skipped": [], "tables": [result], "headlines": []}

    terminal.show(results.document(machine.facts(1), {"daemon": bench}), layers=False)

    printed = capsys.readouterr().out
    assert all(text in printed for text in ("of [/x]", "net[v2].onnx", "[red]1"))


def test_a_peer_that_failed_before_the_largest_batch_has_no_costs() -> None:
    result = {
        "contenders": [contender("ours", "1", "8"), contender("theirs", "1")],
        "network": "n", "rounds": 1, "random_weights": False, "profile": None, "skipped": [],
        "power": {"nominal": False, "source": ""}, "price_per_hour": 0.5,
    }  # fmt: skip

    costs = network_tables.tables(result)[-1]

    assert [row[0] for row in costs.rows] == ["ours"]
    assert costs.notes == ["price: 0.5 dollars an hour"]


def test_what_takes_other_images_than_the_network_is_not_compared_with_it(tmp_path: Path) -> None:
    network = random_network.write(tmp_path / "tiny.onnx", side=32, thinner=8, stages=1, classes=5)

    inputs = prepare(Options(model=str(network)), tmp_path)

    assert inputs.unlike_keras() == "Keras' ResNet50 takes images of 224 x 224, tiny.onnx takes 32 x 32"


@pytest.mark.parametrize(
    ("name", "work", "reason"),
    [
        ("ResNet50 v1.5", 4_089_184_256, ""),
        ("resnet18.onnx", 1_814_073_344, "Keras' ResNet50 has 3.9 GMAC an image to do, resnet18.onnx has 1.8"),
        ("resnet101.onnx", 7_801_405_440, "Keras' ResNet50 has 3.9 GMAC an image to do, resnet101.onnx has 7.8"),
    ],
)
def test_what_has_more_or_less_to_do_than_the_network_is_not_compared_with_it(
    name: str, work: int, reason: str
) -> None:
    inputs = NetworkInputs(name, (224, 224), work, "", Path(), "torch", Path(), None, (), False, "")

    assert inputs.unlike_keras() == reason


class CrashError(Py4JJavaError):
    """What Py4J raises for a job whose Python worker has crashed, without a JVM."""

    def __init__(self) -> None:
        pass

    def __str__(self) -> str:
        return "An error occurred while calling o50.save.\n: SparkException: Python worker exited\n\tat A.b(A.scala:1)"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (CrashError(), "SparkException: Python worker exited"),
        (
            PythonException("An exception was thrown:\nTraceback:\n  line 1\nValueError: no weights"),
            "ValueError: no weights",
        ),
        (PySparkException("no such function\nin 'x'"), "no such function"),
    ],
)
def test_a_udf_that_fails_says_why_in_a_line_and_takes_part_no_more(error: Exception, reason: str) -> None:
    asked: list[object] = []

    def select(column: object) -> None:
        asked.append(column)
        raise error

    rows, spark = SimpleNamespace(select=select), SimpleNamespace(sparkContext=SimpleNamespace(environment={}))
    udf = spark_inference._Contender("tensorflow", "a UDF", lambda: cast(Any, str))

    for _ in range(2):
        udf.turn(cast(Any, spark), cast(Any, rows), 8)

    assert (udf.facts()["failed"], udf.turns, len(asked)) == (reason, [], 1)


def test_a_failure_of_scikit_learn_is_told_and_it_is_not_asked_again() -> None:
    asked: list[int] = []

    def fit() -> None:
        asked.append(1)
        raise ValueError("Input X contains NaN.\nIt has hints, too.")

    scikit = fits._Scikit(lambda: fit)
    scikit.fit()
    scikit.fit()

    assert scikit.failed == "ValueError: Input X contains NaN."
    assert len(asked) == 1


def test_a_user_who_has_turned_acceleration_off_measures_it_all_the_same() -> None:
    given = {"SPARK_ACCEL_ENABLED": "false", "SPARK_ACCEL_DAEMON_START": "false", "SPARK_ACCEL_ML_PRECISION": "float64"}

    assert fits._accel_conf(Options(settings=given)) == {"spark.accel.ml.precision": "float64"}


def test_without_git_the_commit_is_not_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert machine.facts(1)["commit"] == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["kmeans", "--device", "reference"], "choose an OpenCL device with --device"),
        (["spark", "--images", "{empty}"], "there are no JPEG files"),
    ],
)
def test_what_can_not_be_measured_fails_before_spark_starts(arguments: list[str], said: str, tmp_path: Path) -> None:
    file = tmp_path / "result.json"

    done = run(*(text.format(empty=tmp_path) for text in arguments), "--peers", "none", "--json", file)

    assert done.returncode == 1
    assert said in done.stdout
    assert json.loads(file.read_text())["benches"][arguments[0]]["failed"]
    assert "round 1 " not in done.stderr
