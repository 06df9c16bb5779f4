"""How much power the machine takes: a sensor's word (RAPL, hwmon), else the nominal figure that a user gives.

RAPL counts joules of a processor's packages; hwmon's `energy*_input` counts microjoules of a board, `power*_average` or
`power*_input` are microwatts of the moment. Most virtual machines offer none of them.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_RAPL = "class/powercap"
_HWMON = "class/hwmon"


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

    def watts(self, before: list[int], seconds: float) -> float | None:
        """The mean since `before` was read, `seconds` ago; a sensor of the moment says what is now; None: unknown."""
        if self.nominal:
            return self.nominal
        if self.moments:
            return sum(map(_number, self.moments)) / 1e6
        if self.counters:
            parts = zip(self.read(), before, self.counters, strict=True)
            return sum((now - then) % (wrap + 1) for now, then, (_, wrap) in parts) / 1e6 / seconds
        return None

    def facts(self) -> dict[str, Any]:
        """For the results."""
        return {"source": self.source, "nominal": bool(self.nominal)}


def find(nominal: float, system: Path = Path("/sys")) -> Meter:
    """The best meter that this machine lets us read."""
    packages = [path for path in sorted((system / _RAPL).glob("intel-rapl:?")) if _readable(path / "energy_uj")]
    if packages:
        ranges = tuple((path / "energy_uj", _number(path / "max_energy_range_uj")) for path in packages)
        return Meter("RAPL, processor packages", counters=ranges)
    for pattern in ("power*_average", "power*_input"):
        sensors = tuple(path for path in sorted((system / _HWMON).glob(f"*/{pattern}")) if _readable(path))
        if sensors:
            return Meter(f"hwmon, {', '.join(path.name for path in sensors)}", moments=sensors)
    if nominal:
        return Meter(f"nominal, {nominal:g} W as given by --watts", nominal=nominal)
    return Meter("no sensor, and no --watts")


def _readable(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return _number(path) >= 0
    return False


def _number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))
