"""Plots of results as SVG text, to stand in a page as they are."""

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spark_accel.bench.fit_tables import speed_up
from spark_accel.bench.network_tables import above_the_limit, gmacs
from spark_accel.bench.resnet50 import batches, milliseconds, rates
from spark_accel.bench.shown import Headline
from spark_accel.bench.spark_tables import rates as of_spark
from spark_accel.bench.summary import spread

_OURS, _WORSE, _UNDECIDED, _INK = "#0b6e4f", "#b23a48", "#8a8a8a", "#333333"
_OTHERS = ("#c9790a", "#3d6cb3", "#8a5aa8", "#7a7a7a", "#4f9da6")
_KINDS = {"convolution": _OURS, "dense": "#3d6cb3", "max_pool": "#c9790a", "global_average_pool": "#8a5aa8"}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "spark-accel", "font.family": "sans-serif", "font.size": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#999999", "axes.labelcolor": _INK,
    "text.color": _INK, "xtick.color": _INK, "ytick.color": _INK, "legend.frameon": False,
}  # fmt: skip


def headline_bars(groups: list[tuple[str, list[Headline]]]) -> str:
    """How many times as fast ours is, a bar each below the title of its group; the line is "as fast as"."""
    lines: list[tuple[str, Headline | None]] = []
    for title, headlines in groups:
        lines += [(title, None), *((f"{one.what}  ·  {one.against}", one) for one in headlines)]
    lines.reverse()
    shown = [(place, one) for place, (_, one) in enumerate(lines) if one]

    def draw(axes: Axes) -> None:
        colours = [_UNDECIDED if one.undecided else _OURS if one.times >= 1 else _WORSE for _, one in shown]
        axes.barh([place for place, _ in shown], [one.times - 1 for _, one in shown], left=1, color=colours, height=0.7)
        for (place, one), colour in zip(shown, colours, strict=True):
            side = "left" if one.times >= 1 else "right"
            axes.annotate(
                f"{one.times:.3g}x", (one.times, place), (4 if side == "left" else -4, 0), textcoords="offset points",
                va="center", ha=side, weight="bold", color=colour,
            )  # fmt: skip
        axes.set_yticks(range(len(lines)), [label for label, _ in lines])
        for text, (_, headline) in zip(axes.get_yticklabels(), lines, strict=True):
            text.set_fontweight("normal" if headline else "bold")
        axes.set_xscale("log")
        least, most = min(0.7, *(one.times for _, one in shown)), max(1.4, *(one.times for _, one in shown))
        axes.set_xlim(least / 1.6, most * 1.8)
        ticks = [tick for tick in (0.1, 0.25, 0.5, 1, 2, 5, 10, 25, 50, 100) if least / 1.6 < tick < most * 1.8]
        axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
        axes.minorticks_off()
        axes.axvline(1, color=_INK, linewidth=1.2)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)

    return _svg(draw, (11, 0.6 + 0.34 * len(lines)))


def throughput(result: dict[str, Any]) -> str:
    """Images/s by batch; whiskers go from least to most."""

    def draw(axes: Axes) -> None:
        sizes = batches(result)
        shown = [one for one in result["contenders"] if one["turns"]]
        width = 0.8 / len(shown)
        for number, one in enumerate(shown):
            spreads = [spread(rates(one, batch)) if rates(one, batch) else None for batch in sizes]
            at = [index - 0.4 + (number + 0.5) * width for index, found in enumerate(spreads) if found]
            found = [one for one in spreads if one]
            errors = [[one.median - one.least for one in found], [one.most - one.median for one in found]]
            axes.bar(
                at, [one.median for one in found], width * 0.92, yerr=errors, label=one["title"],
                color=_colour(number), error_kw={"elinewidth": 1, "ecolor": _INK},
            )  # fmt: skip
        axes.set_xticks(range(len(sizes)), [f"batch {batch}" for batch in sizes])
        axes.set_ylabel("images/s (more is better)")
        _legend_above(axes)

    return _svg(draw, (8, 4))


def latency(result: dict[str, Any]) -> str:
    """The share of calls with one image that were done after so long."""

    def draw(axes: Axes) -> None:
        for number, one in enumerate(result["contenders"]):
            calls = sorted(milliseconds(one))
            if calls:
                shares = [(index + 1) / len(calls) for index in range(len(calls))]
                axes.plot(calls, shares, label=one["title"], color=_colour(number), linewidth=2)
        axes.set_xlabel("ms for one image (left is better)")
        axes.set_ylabel("share of the calls")
        axes.set_xlim(left=0)
        axes.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1))
        axes.grid(alpha=0.3)
        _legend_above(axes)

    return _svg(draw, (8, 4))


def layers(profile: dict[str, Any]) -> str:
    """The layers side by side, as wide as the time they take, as high as their GMAC/s; the line is the limit."""

    def draw(axes: Axes) -> None:
        start = 0.0
        for layer in profile["layers"]:
            width = layer["seconds"] * 1e3
            height = max(gmacs(layer, profile["batch"]), 0.5)
            axes.bar(start, height, width, align="edge", color=_KINDS[layer["kind"]], edgecolor="white", linewidth=0.4)
            start += width
        if profile["limit"]:
            limit = profile["limit"] / 1e9
            above = ", above it by Winograd's algorithm" if above_the_limit(profile) else ""
            axes.axhline(limit, color=_WORSE, linewidth=1.5)
            axes.set_title(f"red line: limit, {limit:.0f} GMAC/s{above}", loc="right", fontsize=10, color=_WORSE)
        axes.set_xlabel(f"ms of a batch of {profile['batch']}, layer after layer")
        axes.set_ylabel("GMAC/s")
        for kind in dict.fromkeys(layer["kind"] for layer in profile["layers"]):
            axes.bar(0, 0, 0, color=_KINDS[kind], label=kind.replace("_", " "))
        _legend_above(axes)

    return _svg(draw, (11, 3.6))


def spark_rates(result: dict[str, Any]) -> str:
    """Images/s of Spark from JPEG bytes to classes; whiskers go from least to most."""

    def draw(axes: Axes) -> None:
        shown = [one for one in result["contenders"] if one["turns"]]
        for number, one in enumerate(shown):
            found = spread(of_spark(one))
            errors = [[found.median - found.least], [found.most - found.median]]
            axes.barh(-number, found.median, 0.6, xerr=errors, color=_colour(number))
        axes.set_yticks([-number for number in range(len(shown))], [one["title"] for one in shown])
        axes.set_xlabel("images/s, decoding included (more is better)")
        axes.tick_params(axis="y", length=0)

    return _svg(draw, (9, 0.9 + 0.45 * len(result["contenders"])))


def fit_speed(fits: list[dict[str, Any]]) -> str:
    """How many times faster than stock MLlib; whiskers go from least to most; the tick is what is wanted."""

    def draw(axes: Axes) -> None:
        shown = [fit for fit in fits if fit["turns"]["mllib"]][::-1]
        for index, fit in enumerate(shown):
            found = speed_up(fit, "mllib")
            errors = [[found.median - found.least], [found.most - found.median]]
            axes.barh(index, found.median, 0.6, xerr=errors, color=_OURS if found.median >= 1 else _WORSE)
            axes.plot([fit["target"]] * 2, [index - 0.4, index + 0.4], color="#c9790a", linewidth=2.5)
            axes.annotate(f"{found.median:.1f}x", (found.most, index), (5, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(shown)), [fit["title"] for fit in shown])
        axes.set_xlabel("times faster than stock MLlib (orange: what is wanted)")
        axes.axvline(1, color=_INK, linewidth=1)
        axes.tick_params(axis="y", length=0)

    return _svg(draw, (9, 0.9 + 0.5 * len(fits)))


def growth(points: list[dict[str, Any]]) -> str:
    """Seconds of a fit by rows, ours."""

    def draw(axes: Axes) -> None:
        for number, title in enumerate(dict.fromkeys(point["title"] for point in points)):
            own = [point for point in points if point["title"] == title]
            spreads = [spread(point["turns"]) for point in own]
            errors = [[one.median - one.least for one in spreads], [one.most - one.median for one in spreads]]
            rows = [point["rows"] / 1e6 for point in own]
            axes.errorbar(rows, [one.median for one in spreads], errors, marker="o", label=title, color=_colour(number))
        axes.set_xlabel("million rows")
        axes.set_ylabel("seconds for a fit")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        _legend_above(axes)

    return _svg(draw, (8, 4))


def _colour(number: int) -> str:
    return _OURS if number == 0 else _OTHERS[(number - 1) % len(_OTHERS)]


def _legend_above(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)


def _svg(draw: Callable[[Axes], None], size: tuple[float, float]) -> str:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return text[text.index("<svg") :]
