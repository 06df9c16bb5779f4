"""What is said of many figures: the median with least and most, and percentiles."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """The middle of some figures, the least and the most."""

    median: float
    least: float
    most: float

    def text(self, digits: int = 1) -> str:
        """`21.2 (20.5 to 22.2)`."""
        median, least, most = (f"{value:,.{digits}f}" for value in (self.median, self.least, self.most))
        return median if least == most else f"{median} ({least} to {most})"


def spread(values: Iterable[float]) -> Spread:
    """Of at least one figure."""
    given = list(values)
    return Spread(statistics.median(given), min(given), max(given))


def percentiles(values: Iterable[float], *wanted: float) -> list[float]:
    """Of at least one figure."""
    return [float(one) for one in np.percentile(list(values), wanted)]
