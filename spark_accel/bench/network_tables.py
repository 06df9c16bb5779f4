"""Tables of the bench `resnet50`."""

from collections.abc import Iterable
from statistics import median
from typing import Any

from spark_accel.bench.resnet50 import batches, latencies, milliseconds, rates, watts
from spark_accel.bench.shown import Headline, Table, skipped
from spark_accel.bench.summary import Spread, percentiles, spread

_ARITHMETIC = (
    "multiplications in registers: in each round as many as take as long as that round's median image where nothing"
    " disturbs them; what they vary is the doing of the machine, and of the driver that spreads them over its threads"
)
_HEADLINES = (16, 32)  # batches that the first glance is of, where they were measured


def tables(result: dict[str, Any]) -> list[Table]:
    """Images/s by batch; latency and top-1; images per watt and dollar where they are known."""
    contenders = [one for one in result["contenders"] if one["turns"]]
    found = [_throughput(result, contenders)]
    if any(milliseconds(one) for one in contenders) or any(one["top1"] for one in contenders):
        found.append(_latency(contenders, result.get("arithmetic", [])))
    efficiency = _efficiency(result, contenders)
    return [*found, efficiency] if efficiency else found


def headlines(result: dict[str, Any]) -> list[Headline]:
    """Ours against each peer: throughput of the usual batches, median latency of one image."""
    ours, *others = result["contenders"]
    sizes = [batch for batch in batches(result) if batch in _HEADLINES] or batches(result)[-1:]
    found = []
    for batch in sizes:
        for one in others:
            if rates(one, batch):
                times = _by_round(rates(ours, batch), rates(one, batch))
                found.append(Headline.of(f"the network, images/s, batch {batch}", one["title"], times))
    for one in others:
        if milliseconds(one) and milliseconds(ours):
            times = _by_round(map(median, latencies(one)), map(median, latencies(ours)))
            found.append(Headline.of("the network, latency of one image", one["title"], times))
    return found


def _by_round(figures: Iterable[float], others: Iterable[float]) -> Spread:
    """How many times the others the figures are over the rounds, in each of which both had the same machine."""
    return spread(one / other for one, other in zip(figures, others, strict=False))


def layer_table(profile: dict[str, Any]) -> Table:
    """Where the time of a batch goes."""
    layers, batch, limit = profile["layers"], profile["batch"], profile["limit"]
    total = sum(layer["seconds"] for layer in layers)
    rows = []
    for layer in layers:
        rate = gmacs(layer, batch)
        share = f"{1e9 * rate / limit:.0%}" if limit and rate else ""
        milliseconds_, figures = f"{layer['seconds'] * 1e3:.2f}", f"{rate:.1f}" if rate else ""
        rows.append([layer["name"], layer["kind"], milliseconds_, f"{layer['seconds'] / total:.1%}", figures, share])
    whole = sum(layer["multiplications"] for layer in layers) * batch / total
    rows.append(
        ["all", "", f"{total * 1e3:.2f}", "100%", f"{whole / 1e9:.1f}", f"{whole / limit:.0%}" if limit else ""]
    )
    notes = [f"limit: {limit / 1e9:.0f} GMAC/s, the tier's own multiplications in registers"] if limit else []
    notes += _above_the_limit(profile)
    columns = ["layer", "kind", "ms", "share", "GMAC/s", "of limit"]
    return Table(f"time by layer, batch {batch}", columns, rows, notes)


def gmacs(layer: dict[str, Any], batch: int) -> float:
    """Milliards of multiplications with an addition a second."""
    return float(layer["multiplications"] * batch / layer["seconds"] / 1e9) if layer["seconds"] else 0.0


def _throughput(result: dict[str, Any], contenders: list[dict[str, Any]]) -> Table:
    sizes = batches(result)
    rows = [
        [one["title"], *(spread(rates(one, batch)).text() if rates(one, batch) else "" for batch in sizes)]
        for one in contenders
    ]
    notes = [f"{one['title']}: {one['about']}" for one in contenders]
    if result["random_weights"]:
        notes.append("the network has random weights: these figures say nothing about accuracy")
    if result["profile"] and result["profile"]["limit"]:
        notes += [_against_limit(result["profile"]), *_above_the_limit(result["profile"])]
    rounds = result["rounds"]
    spreads = f"median (least to most) of {rounds} rounds, turn by turn" if rounds > 1 else "one round"
    title = f"network only ({result['network']}), images/s: {spreads}"
    return Table(title, ["", *(f"batch {batch}" for batch in sizes)], rows, notes + skipped(result))


def _against_limit(profile: dict[str, Any]) -> str:
    done = sum(layer["multiplications"] for layer in profile["layers"]) * profile["batch"]
    rate = done / sum(layer["seconds"] for layer in profile["layers"])
    return (
        f"spark-accel, batch {profile['batch']}: {rate / 1e9:.0f} GMAC/s, {rate / profile['limit']:.0%} of the "
        f"{profile['limit'] / 1e9:.0f} that the tier's multiplications reach in registers, in the same run"
    )


def above_the_limit(profile: dict[str, Any]) -> bool:
    """Whether some layers do more than their multiplications one by one could be done in."""
    limit = profile["limit"]
    return bool(limit) and any(1e9 * gmacs(layer, profile["batch"]) > limit for layer in profile["layers"])


def _above_the_limit(profile: dict[str, Any]) -> list[str]:
    if not above_the_limit(profile):
        return []
    return ["layers above the limit are made by Winograd's algorithm, with 36 multiplications in the place of 144"]


def _latency(contenders: list[dict[str, Any]], arithmetic: list[list[float]]) -> Table:
    rows = []
    for one in contenders:
        top1 = f"{one['top1']['right']} of {one['top1']['of']}" if one["top1"] else ""
        rows.append([one["title"], *_latencies(latencies(one)), top1])
    if arithmetic:
        rows.append(["multiplications in registers alone", *_latencies(arithmetic), ""])
    columns = ["", "p50", "p95", "p99", "p99 / p50, median of the rounds", "calls", "right at top-1"]
    notes = [_ARITHMETIC] if arithmetic else []
    return Table("one image: latency in ms; top-1", columns, rows, notes)


def _latencies(rounds: list[list[float]]) -> list[str]:
    """Percentiles of all calls; their ratio round by round, between which the speed of a machine may change."""
    calls = [one for each in rounds for one in each]
    if not calls:
        return ["", "", "", "", "0"]
    tail = spread(percentiles(each, 99)[0] / percentiles(each, 50)[0] for each in rounds)
    return [*(f"{one:.1f}" for one in percentiles(calls, 50, 95, 99)), tail.text(2), str(len(calls))]


def _efficiency(result: dict[str, Any], contenders: list[dict[str, Any]]) -> Table | None:
    price, batch = result["price_per_hour"], batches(result)[-1]
    has_power = any(watts(one, batch) for one in contenders)
    if not (price or has_power):
        return None
    nominal = " (nominal)" if result["power"]["nominal"] else ""
    columns = ["", *([f"watts{nominal}", f"images/s per watt{nominal}"] if has_power else [])]
    columns += ["images per dollar"] if price else []
    rows = []
    for one in [one for one in contenders if rates(one, batch)]:  # others have failed before
        rate, power = spread(rates(one, batch)).median, watts(one, batch)
        row = [one["title"]]
        if has_power:
            row += [f"{power:.1f}", f"{rate / power:.2f}"] if power else ["", ""]
        rows.append([*row, f"{rate * 3600 / price:,.0f}"] if price else row)
    notes = [f"power: {result['power']['source']}"] if has_power else []
    notes += [f"price: {price:g} dollars an hour"] if price else []
    return Table(f"what it costs, batch {batch}", columns, rows, notes)
