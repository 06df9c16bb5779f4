"""The shape of the FPGA's network engine, which the kernels of the tier `fpga` are built with. No OpenCL here."""

from collections.abc import Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Engine:
    """Build-time sizes; the macros of `kernels/network/fpga_program.h`, which explains them, are named alike.

    The array multiplies `vec` input channels by `lanes` output channels for `pix` pixels of a row in a cycle; `drain`
    pixels of sums leave it in a cycle. `words` are the words of `lanes` bytes in each of the `pix` banks of on-chip
    memory for activations, `weight_words` the words of `vec * lanes` bytes in each of the two buffers for weights.
    """

    vec: int
    lanes: int
    pix: int
    drain: int
    words: int
    weight_words: int
    pool_columns: int

    @classmethod
    def from_defines(cls, defines: Mapping[str, int]) -> "Engine":
        """The engine that a tier's macros describe."""
        return cls(**{field.name: defines[field.name.upper()] for field in fields(cls)})

    @property
    def defines(self) -> dict[str, int]:
        """The macros that describe it."""
        return {field.name.upper(): getattr(self, field.name) for field in fields(self)}

    @property
    def products(self) -> int:
        """Multiplications in a cycle."""
        return self.vec * self.lanes * self.pix

    @property
    def messages(self) -> int:
        """Cycles in which the sums of a segment leave the array."""
        return -(-self.pix // self.drain)

    def __str__(self) -> str:
        return f"{self.vec} x {self.lanes} x {self.pix}"
