"""The network alone: images/s by batch, latency, top-1, images per watt and dollar; ours and its peers turn by turn.

No Spark, no daemon, no decoding. Each contender has a process of its own and the same number of threads and cores; only
one works at a time.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from spark_accel.bench import peers, power, progress
from spark_accel.bench.contender import Job
from spark_accel.bench.contender_process import ContenderError, ContenderProcess, closing
from spark_accel.bench.interruption import UntilInterrupted
from spark_accel.bench.network_inputs import NetworkInputs, prepare
from spark_accel.bench.options import Options

NAMES = ("openvino", "onnxruntime", "tensorflow")
_PROFILED_BATCH, _PROFILES = 16, 7
_SECONDS_OF_LATENCY = 4.0  # a turn of batch 1 has so many at least: the 99th percentile wants many calls


def measure(options: Options) -> dict[str, Any]:
    """Everything measured, with every turn, as JSON takes it."""
    with tempfile.TemporaryDirectory(prefix="spark-accel-bench-") as name:
        inputs = prepare(options, Path(name))
        reasons = {one: _reason(one, options, inputs) for one in NAMES if one in options.peers}
        skipped = {one: why for one, why in reasons.items() if why}
        wanted = [peers.OURS, *(one for one in reasons if one not in skipped)]
        processes = [ContenderProcess(one, _job(one, inputs, options, Path(name))) for one in wanted]
        with closing(processes):
            contenders = [_Measured(process, inputs) for process in processes]
            meter = power.find(options.watts)
            arithmetic: list[list[float]] = []
            profile = None
            with UntilInterrupted() as rounds:
                for one in contenders:
                    one.load()
                for batch in options.batches:
                    _take_turns(contenders, batch, options, meter, arithmetic)
                profile = contenders[0].profile(min(_PROFILED_BATCH, max(options.batches)))
    return {
        **rounds.mark(contenders[0].turns),
        "network": inputs.name,
        "images": inputs.photographs,
        "random_weights": inputs.is_random,
        "threads": options.threads,
        "rounds": options.rounds,
        "power": meter.facts(),
        "price_per_hour": options.price_per_hour,
        "contenders": [one.facts() for one in contenders],
        "arithmetic": [one for one in arithmetic if one],
        "skipped": [{"title": peers.peer(name).title, "reason": why} for name, why in skipped.items()],
        "profile": profile,
    }


def _reason(name: str, options: Options, inputs: NetworkInputs) -> str:
    if name == "tensorflow":
        return peers.peer(name).missing() or inputs.unlike_keras()
    if not inputs.onnx:
        return (
            f"'{options.model}' is quantised in our own form: give --model FILE.onnx for a network that it reads, too"
        )
    return peers.peer(name).missing()


def _job(name: str, inputs: NetworkInputs, options: Options, folder: Path) -> Job:
    own = folder / name
    own.mkdir()
    return Job(
        network=inputs.onnx,
        plan=str(inputs.plan),
        preprocessing=inputs.preprocessing,
        calibration=str(inputs.calibration),
        images=str(inputs.calibration),
        threads=options.threads,
        largest=max(*options.batches, 8),
        folder=str(own),
        settings=options.settings,
    )


class _Measured:
    """A contender with what was measured of it. Once it has failed it takes part no more, and says why."""

    def __init__(self, process: ContenderProcess, inputs: NetworkInputs) -> None:
        self._process, self._inputs = process, inputs
        self._title = "spark-accel int8" if process.name == peers.OURS else peers.peer(process.name).title
        self.turns: dict[str, list[dict[str, Any]]] = {}
        self._about, self._failed = "", ""
        self._top1: dict[str, int] | None = None

    def load(self) -> None:
        progress.say(f"{self._title}: quantising, compiling")
        self._ask(self._process.load)
        self._about = self._ask(lambda: self._process.ask("about")) or ""
        if self._inputs.labelled is not None:
            found = self._ask(lambda: self._process.ask("classes", images=str(self._inputs.labelled)))
            if found:
                right = sum(one == other for one, other in zip(found, self._inputs.right, strict=True))
                self._top1 = {"right": right, "of": len(found)}

    def set_up(self, batch: int) -> None:
        self._ask(lambda: self._process.ask("set_up", batch=batch))

    def turn(self, batch: int, seconds: float, meter: power.Meter) -> None:
        with meter.sampling() as samples:
            before, start = meter.read(), time.perf_counter()
            turn = self._ask(lambda: self._process.ask("run", seconds=seconds))
            # With what is not counted as the turn's: some work before it, until all their streams are busy.
            passed = time.perf_counter() - start
        if turn:
            turn["watts"] = meter.watts(before, passed, samples)
            if batch > 1:
                del turn["milliseconds"]
            self.turns.setdefault(str(batch), []).append(turn)

    def arithmetic(self, seconds: float) -> list[float]:
        """The milliseconds of calls that multiply in registers for as long as one image takes."""
        milliseconds = statistics.median(self.turns["1"][-1]["milliseconds"])
        found: list[float] = self._ask(
            lambda: self._process.ask("arithmetic", milliseconds=milliseconds, seconds=seconds)
        )
        return found

    def profile(self, batch: int) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._ask(lambda: self._process.ask("profile", batch=batch, repeat=_PROFILES))
        return found

    def facts(self) -> dict[str, Any]:
        return {
            "name": self._process.name,
            "title": self._title,
            "about": self._about,
            "failed": self._failed,
            "top1": self._top1,
            "turns": self.turns,
        }

    def _ask(self, question: Any) -> Any:  # noqa: ANN401 - JSON
        if self._failed:
            return None
        try:
            return question()
        except ContenderError as error:
            if self._process.name == peers.OURS:
                raise
            self._failed = str(error)
            progress.say(f"{self._title}: {error}")
            return None


def _take_turns(
    contenders: list[_Measured], batch: int, options: Options, meter: power.Meter, arithmetic: list[list[float]]
) -> None:
    """For one image arithmetic alone has a turn in each round, too: its milliseconds are added to `arithmetic`."""
    seconds = (
        max(options.seconds, _SECONDS_OF_LATENCY if options.seconds >= 1 else 0) if batch == 1 else options.seconds
    )
    for one in contenders:
        one.set_up(batch)
    for number in range(options.rounds):
        progress.say(f"batch {batch}, round {number + 1} of {options.rounds}")
        for one in contenders:
            one.turn(batch, seconds, meter)
        if batch == 1:
            arithmetic.append(contenders[0].arithmetic(seconds))


def rates(contender: dict[str, Any], batch: int) -> list[float]:
    """Images/s of each turn."""
    return [turn["images"] / turn["seconds"] for turn in contender["turns"].get(str(batch), [])]


def latencies(contender: dict[str, Any]) -> list[list[float]]:
    """The milliseconds of every single call with one image, round by round."""
    return [turn["milliseconds"] for turn in contender["turns"].get("1", [])]


def milliseconds(contender: dict[str, Any]) -> list[float]:
    """Those of all rounds."""
    return [one for turn in latencies(contender) for one in turn]


def batches(result: dict[str, Any]) -> list[int]:
    """Those that were measured."""
    return sorted({int(batch) for one in result["contenders"] for batch in one["turns"]})


def watts(contender: dict[str, Any], batch: int) -> float | None:
    """The median power while it worked, where it is known."""
    known = [turn["watts"] for turn in contender["turns"].get(str(batch), []) if turn["watts"]]
    return statistics.median(known) if known else None
