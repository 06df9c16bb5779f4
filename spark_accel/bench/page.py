"""Results as one HTML file that needs nothing else: what is faster and by how much, then plots, then every figure."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from spark_accel.bench import plots
from spark_accel.bench.network_tables import layer_table
from spark_accel.bench.tables import shown
from spark_accel.bench.terminal import about


def write(path: Path, documents: list[tuple[str, dict[str, Any]]]) -> None:
    """Writes the page of results with the names of their files."""
    environment = Environment(loader=PackageLoader("spark_accel.bench"), autoescape=True, undefined=StrictUndefined)
    sections = [_section(document) for _, document in documents]
    path.write_text(environment.get_template("page.html").render(sections=sections), encoding="utf-8")


def _section(document: dict[str, Any]) -> dict[str, Any]:
    benches = document["benches"]
    parts = [shown(name, result) for name, result in benches.items()]
    headlines = [one for part in parts for one in part.headlines]
    facts = document["about"]
    return {
        "title": f"{facts['processor']}, {facts['threads']} threads",
        "headlines": headlines,
        "bars": Markup(plots.headline_bars(headlines)) if headlines else "",  # noqa: S704 - our own plots, not text
        "figures": [(title, Markup(svg)) for title, svg in _figures(benches)],  # noqa: S704 - the same
        "parts": [(part, _layers(benches[part.bench])) for part in parts],
        "about": about(facts),
    }


def _figures(benches: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    network = benches.get("resnet50", {})
    if network.get("contenders"):
        found.append(("Throughput by batch", plots.throughput(network)))
        if any(one["turns"].get("1") for one in network["contenders"]):
            found.append(("Latency of one image", plots.latency(network)))
    if network.get("profile"):
        found.append(("Where the network's time goes", plots.layers(network["profile"])))
    fitted = [result for result in benches.values() if result.get("fits")]
    fits = [fit for result in fitted for fit in result["fits"]]
    if any(fit["turns"]["mllib"] for fit in fits):
        found.append(("Estimators against stock MLlib", plots.fit_speed(fits)))
    points = [point for result in fitted for point in result["growth"]]
    if points:
        found.append(("Growth with the rows", plots.growth(points)))
    return found


def _layers(result: dict[str, Any]) -> list[Any]:
    return [layer_table(result["profile"])] if result.get("profile") else []
