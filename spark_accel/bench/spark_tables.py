"""Tables of the bench `spark`."""

from typing import Any

from spark_accel.bench.shown import Headline, Table, skipped
from spark_accel.bench.summary import Spread, spread


def tables(result: dict[str, Any]) -> list[Table]:
    """Images/s of every way to classify a column; the long run."""
    ours = result["contenders"][0]
    rows = []
    for one in result["contenders"]:
        if one["turns"]:
            ratio = "" if one is ours else speed_up(ours, one).text(2)
            rows.append([one["title"], spread(rates(one)).text(), ratio])
    title = (
        f"Spark, local[{result['threads']}], from JPEG bytes to classes ({result['network']}, "
        f"{result['images_a_turn']} images a turn), images/s"
    )
    found = [Table(title, ["", "images/s", "spark-accel is faster, times"], rows, skipped(result))]
    return [*found, _long(result["long"])] if result["long"] else found


def headlines(result: dict[str, Any]) -> list[Headline]:
    """Ours against each of the others."""
    ours, *others = result["contenders"]
    what = "Spark, JPEG bytes to classes"
    return [Headline.of(what, one["title"], speed_up(ours, one)) for one in others if one["turns"]]


def rates(contender: dict[str, Any]) -> list[float]:
    """Images/s of each turn."""
    return [turn["images"] / turn["seconds"] for turn in contender["turns"]]


def speed_up(ours: dict[str, Any], other: dict[str, Any]) -> Spread:
    """How many times as fast ours is, round by round."""
    return spread(mine / theirs for mine, theirs in zip(rates(ours), rates(other), strict=False))


def _long(long: dict[str, Any]) -> Table:
    rows = [
        [f"{run['images']:,} images", f"{run['images'] / run['seconds']:.1f}", f"{run['memory_bytes'] / 2**20:,.0f}"]
        for run in (long["first"], long["all"])
    ]
    columns = ["", "images/s", "MiB of daemon and Python workers at the end"]
    return Table("spark-accel over a long job", columns, rows)
