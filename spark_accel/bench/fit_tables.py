"""Tables of the benches `kmeans`, `logistic` and `naive-bayes`."""

from typing import Any

from spark_accel.bench.shown import Headline, Table, skipped
from spark_accel.bench.summary import Spread, spread

_WANTED = "wanted: how many times as fast as stock MLlib this project means to be"
_PARTS_NOTE = (
    "packing: rows into memory that is shared with the device, by all tasks at once; waiting: for the daemon, less its"
    " reading of inputs and its kernels; reduction: of the tasks' sums; driver: the rest, with Spark's jobs"
)
_BUSY_NOTE = (
    "a call is a partition's part of an iteration, with its parameters and sums; busy ms: for how long it keeps the"
    " device busy, of which the other columns are made"
)
_PARTS = ("packing", "waiting", "input", "kernel", "reduction", "driver", "requests")


def tables(result: dict[str, Any]) -> list[Table]:
    """Seconds of a fit; where ours went; growth with rows; the kernels against the device's limits."""
    kernels = [_kernels(result["kernels"])] if result["kernels"] else []
    return [_seconds(result), _where(result), *_growth(result), *kernels]


def headlines(result: dict[str, Any]) -> list[Headline]:
    """Ours against stock MLlib and scikit-learn."""
    found = []
    for fit in result["fits"]:
        for name, title in (("mllib", "stock MLlib"), ("scikit-learn", "scikit-learn, rows in memory")):
            if fit["turns"][name]:
                found.append(Headline.of(fit["title"], title, speed_up(fit, name)))
    return found


def speed_up(fit: dict[str, Any], name: str) -> Spread:
    """How many times as fast ours is, over the rounds that both took."""
    return spread(theirs / mine for mine, theirs in zip(fit["turns"]["ours"], fit["turns"][name], strict=False))


def _seconds(result: dict[str, Any]) -> Table:
    rows = []
    for fit in result["fits"]:
        turns = fit["turns"]
        stock = [spread(turns["mllib"]).text(2), speed_up(fit, "mllib").text(1)] if turns["mllib"] else ["", ""]
        scikit = spread(turns["scikit-learn"]).text(2) if turns["scikit-learn"] else ""
        size = f"{fit['rows']:,} x {fit['features']:,}"
        rows.append([fit["title"], size, spread(turns["ours"]).text(2), *stock, f"{fit['target']:g}", scikit])
    columns = ["", "rows", "spark-accel", "stock MLlib", "times faster", "wanted", "scikit-learn"]
    precision = result.get("precision", "float32")  # of which nothing is said where there was no other
    title = f"seconds for a fit, local[{result['threads']}], {precision}: median (least to most), turn by turn"
    blas = [f"stock MLlib's BLAS: {result['blas']}"] if result.get("blas") else []
    return Table(title, columns, rows, [_WANTED, *blas, *skipped(result)])


def _where(result: dict[str, Any]) -> Table:
    rows = []
    for fit in result["fits"]:
        parts = {name: spread(where[name] for where in fit["where"]).median for name in _PARTS}
        rows.append(
            [fit["title"], *(f"{parts[name]:.0f}" if name == "requests" else f"{parts[name]:.2f}" for name in _PARTS)]
        )
    return Table("where our seconds go", ["", *_PARTS], rows, [_PARTS_NOTE])


def _growth(result: dict[str, Any]) -> list[Table]:
    rows = [[one["title"], f"{one['rows']:,}", spread(one["turns"]).text(2)] for one in result["growth"]]
    return [Table("growth with the rows, spark-accel, seconds", ["", "rows", "seconds"], rows)] if rows else []


def _kernels(kernels: dict[str, Any]) -> Table:
    limits = kernels["limits"]
    rows = []
    for call in kernels["calls"]:
        multiplied, read = call["multiplications"] / call["busy"], call["bytes"] / call["busy"]
        rows.append(
            [
                call["title"],
                f"{call['seconds'] * 1e3:.2f}",
                f"{call['busy'] * 1e3:.2f}",
                f"{multiplied / 1e9:.1f}",
                f"{multiplied / limits['multiplications']:.0%}",
                f"{read / 1e9:.1f}",
                f"{read / limits['bytes']:.0%}",
            ]
        )
    title = (
        f"kernels, tier {kernels['tier']}: the limits, measured in the same run, are "
        f"{limits['multiplications'] / 1e9:.0f} GFMA/s and {limits['bytes'] / 1e9:.1f} GB/s"
    )
    return Table(title, ["call", "ms", "busy ms", "GFMA/s", "of limit", "GB/s", "of limit"], rows, [_BUSY_NOTE])
