"""The shape of the estimators' stages on an FPGA, and the iterations that they make. No OpenCL here.

A stage makes an iteration a cycle if nothing holds it up. Tests hold these numbers to those that the kernels count on
an emulator; cycles, clock and bandwidth of a board no one has measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Build-time sizes: the macros of `kernels/*/manifest.json`, which `kernels/estimators/fpga_rows.h` explains.

    A beat is `vec` features, which `lanes` sets (centres, classes) share. A row has `features` at most, a partition
    `sets` sets at most. On the chip there are `coefficient_words` of `vec` x `lanes` coefficients and `sum_words` of
    sums, each for `lanes` sets where `sums_of_lanes`, else for one. `safe` is how many iterations later a sum may be
    read again.
    """

    vec: int
    lanes: int
    features: int
    sets: int
    coefficient_words: int
    sum_words: int
    sums_of_lanes: bool
    safe: int

    @classmethod
    def of(cls, family: str, defines: Mapping[str, int]) -> "Shape":
        """The shape of a family's stages that a tier's macros describe."""
        words = defines["SUM_WORDS"]
        return cls(
            defines["VEC"],
            defines.get("LANES", 1),
            defines["FEATURES"],
            defines.get("SETS", words),
            defines.get("CENTRE_WORDS", words),
            words,
            family == "logistic",
            defines["COPIES"],
        )

    def beats(self, width: int) -> int:
        """Of a row of `width` elements, what it is padded with included."""
        return -(-width // self.vec)

    def groups(self, sets: int) -> int:
        """How often a row goes through the array."""
        return -(-sets // self.lanes)

    def copies(self, width: int, sets: int) -> int:
        """How many copies of the sums rows are added to in turn, so that no sum is wanted again too soon."""
        return -(-self.safe // (self.beats(width) * (self.groups(sets) if self.sums_of_lanes else 1)))

    def sum_words_for(self, width: int, sets: int) -> int:
        """The words of sums that are used."""
        summed = self.groups(sets) if self.sums_of_lanes else sets
        return self.copies(width, sets) * summed * self.beats(width)

    def takes(self, width: int, sets: int) -> bool:
        """Whether so many sets of rows of `width` elements fit on the chip."""
        return (
            width <= self.features
            and self.groups(sets) * self.lanes <= self.sets
            and self.groups(sets) * self.beats(width) <= self.coefficient_words
            and self.sum_words_for(width, sets) <= self.sum_words
        )


def kmeans(shape: Shape, rows: int, width: int, k: int, uncertain: int = 0) -> dict[str, int]:
    """By stage, a step's; of so many rows rounding could have decided which centre is nearest."""
    beats = shape.beats(width)
    words = shape.groups(k) * beats
    sums = shape.sum_words_for(width, k)
    return {
        "rows": rows * words,
        "scores": words + rows * words,
        "distances": k * beats + (rows + uncertain * (k - 1)) * beats,
        "sums": beats + 2 * sums + sums // beats + rows * beats,
    }


def logistic(shape: Shape, rows: int, width: int, classes: int) -> dict[str, int]:
    """By stage, of a loss and gradient."""
    beats, groups = shape.beats(width), shape.groups(classes)
    sums = shape.sum_words_for(width, classes)
    return {
        "rows": rows * groups * beats,
        "margins": groups * (beats + 1) + rows * groups * beats,
        "multipliers": rows * groups * (2 + shape.lanes),
        "gradient": beats + 2 * sums + sums // beats + rows * groups * beats,
    }


def naive_bayes(shape: Shape, rows: int, width: int, classes: int) -> dict[str, int]:
    """By stage, of the sums by class."""
    beats = shape.beats(width)
    sums = shape.sum_words_for(width, classes)
    return {"class_sums": beats + 2 * sums + sums // beats + rows * beats}
