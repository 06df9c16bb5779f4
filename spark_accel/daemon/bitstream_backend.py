"""The backend `bitstream`: a model that is an FPGA's program. It answers nothing itself: while it is loaded, what its
kernels are for runs on it.

Everything is checked before the board is touched: a bitstream that is for another board, cut short or damaged is
refused, and the board keeps what it had.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyopencl as cl
from grpc import StatusCode

from spark_accel.daemon import kernels, quiet_build
from spark_accel.daemon.backends import BackendError, Outcome
from spark_accel.daemon.batch_request import BatchRequest
from spark_accel.daemon.begun import Begun
from spark_accel.daemon.request import RequestError
from spark_accel.errors import ModelError
from spark_accel.fpga import bitstream, macros


@dataclass(frozen=True, eq=False)
class Built:
    """A tier's program on a device: made of its source, or of a bitstream, whose macros the tier then has."""

    context: cl.Context
    tier: kernels.Tier
    program: cl.Program
    name: str  # of the program: what a board holds


class BitstreamBackend:
    """See the file's head. `family` is the kernels' it holds, `built` their program."""

    def __init__(self, name: str, folder: Path, device: "cl.Device | None") -> None:
        try:
            facts = bitstream.read(folder)
            self.family = facts.family
            there = "numpy" if device is None else device.name.strip()
            if device is None or not bitstream.is_for(facts.board, there):
                raise ModelError(f"bitstream '{name}' is for board '{facts.board}', and this device is '{there}'")
            self.built = _built(facts, bitstream.binary(folder, facts), device)
        except ModelError as error:
            raise BackendError(f"Invalid argument: {error}") from error
        self._name = name

    def begin(self, requests: Sequence[BatchRequest], lap: Callable[[], None]) -> Begun[list[Outcome]]:
        """See Backend."""
        lap()
        text = f"model '{self._name}' is a bitstream, which answers nothing: ask a model that needs '{self.family}'"
        return Begun(lambda: [RequestError(StatusCode.INVALID_ARGUMENT, text) for _ in requests])


def _built(facts: bitstream.Bitstream, binary: bytes, device: cl.Device) -> Built:
    context = cl.Context([device])
    try:
        program = quiet_build.build(cl.Program(context, [device], [binary]))
        missing = set(facts.kernels) - {kernel.function_name for kernel in program.all_kernels()}
    except cl.Error as error:
        raise ModelError(f"the driver of '{facts.board}' refuses the bitstream: {error}") from error
    if missing:
        raise ModelError(f"the bitstream lacks kernel '{min(missing)}'")
    tier = replace(macros.tiers()[facts.family], defines=facts.defines)
    return Built(context, tier, program, f"{facts.family}:{facts.sha256[:12]}")
