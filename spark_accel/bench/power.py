"""How much power the machine takes: a sensor's word (RAPL, hwmon), else the nominal figure that a user gives.

RAPL counts joules of a processor's packages; hwmon's `power*_average` or `power*_input`, a board's own for one, are
microwatts of the moment. Most virtual machines offer none of them.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

_RAPL = "class/powercap"
_PLATFORM = "psys"  # RAPL's domain of a whole laptop, in which the packages are counted once more
_HWMON = "class/hwmon"
_SAMPLE_SECONDS = 0.2


@dataclass(frozen=True)
class Meter:
    """`source` says in words where the watts come from; of `counters`, `moments` and `nominal` one is there at most."""

    source: str
    counters: tuple[tuple[Path, int], ...] = ()  # microjoules, and the value after which they start again
    moments: tuple[Path, ...] = ()  # microwatts
    nominal: float = 0.0

    def read(self) -> list[int]:
        """What `watts` needs from before a measurement."""
        return [_number(path) for path, _ in self.counters]

    @contextlib.contextmanager
    def sampling(self) -> Iterator[list[float]]:
        """Watts of the moment, again and again while something is measured; none where no sensor has them."""
        samples: list[float] = []
        if not self.moments:
            yield samples
            return
        stop = threading.Event()

        def sample() -> None:
            ends = False
            while not ends:  # short work is looked at when it ends
                ends = stop.wait(_SAMPLE_SECONDS)
                with contextlib.suppress(OSError, ValueError):  # a sensor that is busy
                    samples.append(sum(map(_number, self.moments)) / 1e6)

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield samples
        finally:
            stop.set()
            thread.join()

    def watts(self, before: list[int], seconds: float, samples: Sequence[float] = ()) -> float | None:
        """The mean since `before` was read, `seconds` ago, or the median of `samples`; None: unknown."""
        if self.nominal:
            return self.nominal
        if self.moments:
            return median(samples) if samples else None
        if self.counters:
            parts = zip(self.read(), before, self.counters, strict=True)
            return sum((now - then) % (wrap + 1) for now, then, (_, wrap) in parts) / 1e6 / seconds
        return None

    def facts(self) -> dict[str, Any]:
        """For the results."""
        return {"source": self.source, "nominal": bool(self.nominal)}


def find(nominal: float, system: Path = Path("/sys")) -> Meter:
    """The best meter that this machine lets us read."""
    domains = sorted((system / _RAPL).glob("intel-rapl:?"))
    packages = [path for path in domains if _readable(path / "energy_uj") and _text(path / "name") != _PLATFORM]
    if packages:
        ranges = tuple((path / "energy_uj", _number(path / "max_energy_range_uj")) for path in packages)
        return Meter("RAPL, processor packages", counters=ranges)
    for pattern in ("power*_average", "power*_input"):
        sensors = tuple(path for path in sorted((system / _HWMON).glob(f"*/{pattern}")) if _readable(path))
        if sensors:
            names = (f"{_text(path.parent / 'name')} {path.name}".strip() for path in sensors)
            return Meter(f"hwmon, {', '.join(names)}", moments=sensors)
    if nominal:
        return Meter(f"nominal, {nominal:g} W as given by --watts", nominal=nominal)
    return Meter("no sensor, and no --watts")


def _readable(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return _number(path) >= 0
    return False


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii", errors="replace").strip() if path.is_file() else ""


def _number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))
