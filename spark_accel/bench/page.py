"""Results as one HTML file that needs nothing else: what is faster and by how much, then plots, then every figure.

The results of one machine stand together, whatever files they come from, in the order of `_SUBJECTS`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from spark_accel.bench import plots
from spark_accel.bench.network_tables import layer_table
from spark_accel.bench.shown import Headline, Table
from spark_accel.bench.tables import Shown, shown
from spark_accel.bench.terminal import about

_Documents = list[tuple[str, dict[str, Any]]]
_SUBJECTS = (
    ("The network alone", ("resnet50",)),
    ("Fits", ("kmeans", "logistic", "naive-bayes")),
    ("Spark job", ("spark",)),
    ("Requests", ("daemon",)),
)


def page(documents: _Documents) -> str:
    """The page for results with the names of their files."""
    environment = Environment(loader=PackageLoader("spark_accel.bench"), autoescape=True, undefined=StrictUndefined)
    machines: dict[str, _Documents] = {}
    for name, document in documents:
        machines.setdefault(_machine(document["about"]), []).append((name, document))
    sections = [_section(title, of_machine) for title, of_machine in machines.items()]
    return environment.get_template("page.html").render(machines=sections)


@dataclass(frozen=True)
class _Part:
    """A bench of a file."""

    file: str
    result: dict[str, Any]
    shown: Shown

    @property
    def layers(self) -> list[Table]:
        return [layer_table(self.result["profile"])] if self.result.get("profile") else []


def _machine(facts: dict[str, Any]) -> str:
    return f"{facts['processor']}, {facts['threads']} of {facts['cores']} cores"


def _section(title: str, documents: _Documents) -> dict[str, Any]:
    subjects = list(_subjects(documents))
    compared = [(title, found) for title, parts in subjects if (found := _headlines(parts))]
    return {
        "title": title,
        "bars": Markup(plots.headline_bars(compared)) if compared else "",  # noqa: S704 - our own plots, not text
        "subjects": [
            (title, [(what, Markup(svg)) for what, svg in _figures(parts)], parts)  # noqa: S704 - the same
            for title, parts in subjects
        ],
        "about": [(name, about(document["about"])) for name, document in documents],
    }


def _subjects(documents: _Documents) -> Iterator[tuple[str, list[_Part]]]:
    """What was measured, with its parts; where several files have the same bench they stand one after the other."""
    for subject, benches in _SUBJECTS:
        by_file = [
            [
                _Part(name, document["benches"][bench], shown(bench, document["benches"][bench]))
                for bench in benches
                if bench in document["benches"]
            ]
            for name, document in documents
        ]
        parts = sorted(
            (part for of_file in by_file for part in of_file), key=lambda one: benches.index(one.shown.bench)
        )
        if len(parts) == len({part.shown.bench for part in parts}):
            groups, several = [parts], False
        else:
            groups, several = by_file, True
        for group in filter(None, groups):
            title = f"{subject} ({', '.join(part.shown.bench for part in group)})"
            yield (f"{title}, {group[0].file}" if several else title), group


def _headlines(parts: list[_Part]) -> list[Headline]:
    return [headline for part in parts for headline in part.shown.headlines]


def _figures(parts: list[_Part]) -> list[tuple[str, str]]:
    benches = {part.shown.bench: part.result for part in parts}
    found = []
    network = benches.get("resnet50", {})
    if network.get("contenders"):
        found.append(("throughput by batch", plots.throughput(network)))
        if any(one["turns"].get("1") for one in network["contenders"]):
            found.append(("latency of one image", plots.latency(network)))
    if network.get("profile"):
        found.append(("where its time goes", plots.layers(network["profile"])))
    if benches.get("spark", {}).get("contenders"):
        found.append(("from JPEG bytes to classes", plots.spark_rates(benches["spark"])))
    fitted = [result for result in benches.values() if result.get("fits")]
    fits = [fit for result in fitted for fit in result["fits"]]
    if any(fit["turns"]["mllib"] for fit in fits):
        found.append(("against stock MLlib", plots.fit_speed(fits)))
    points = [point for result in fitted for point in result["growth"]]
    if points:
        found.append(("growth with the rows", plots.growth(points)))
    return found
