"""A network on an OpenCL device, activations in device memory from the first layer to the last.

The tier that suits the device says how: by a kernel call a layer (`opencl_layers.py`), by one for the whole network
(`opencl_launch.py`), or on the FPGA's engine (`opencl_engine.py`).
"""

import logging
from collections.abc import Callable, Mapping
from functools import cache
from typing import Protocol

import pyopencl as cl

from spark_accel.daemon import kernels, quiet_build
from spark_accel.daemon.begun import Begun
from spark_accel.daemon.bitstream_backend import Built
from spark_accel.daemon.devices import properties
from spark_accel.daemon.fastest_launch import fastest_launch
from spark_accel.daemon.kernels import Tier
from spark_accel.daemon.network import Network
from spark_accel.daemon.network_program import WEIGHTS
from spark_accel.daemon.opencl_engine import EngineCalls
from spark_accel.daemon.opencl_layers import LayerCalls
from spark_accel.daemon.opencl_network_memory import NetworkMemory
from spark_accel.fpga.program import WEIGHTS as ENGINE_WEIGHTS
from spark_accel.fpga.stages import UnsupportedNetwork
from spark_accel.networks.plan import Float32, Plan, UInt8

_log = logging.getLogger(__name__)


class Execution(Protocol):
    """How a plan runs. It has all of its memory once it is made.

    `images` is where images are staged, uint8 [max_batch, height, width, 3].
    """

    images: UInt8

    def begin(self, n: int) -> Begun[Float32]:
        """Begins with the first `n` staged images: others may be staged when it returns. Gives their logits, float32
        [n, classes]."""

    def profile(self, n: int) -> list[float]:
        """Runs them, and gives the seconds that each layer took."""


_KINDS: Mapping[str, Callable[[Plan, Tier, cl.Program, NetworkMemory, int], Execution]] = {  # by the layout of weights
    **dict.fromkeys(WEIGHTS, fastest_launch),
    ENGINE_WEIGHTS: EngineCalls,
}


@cache
def _built(device: cl.Device, name: str) -> Built:
    """What all networks of a device share."""
    (tier,) = (one for one in kernels.tiers(kernels.folder() / "network") if one.name == name)
    context = cl.Context([device])
    if not device.compiler_available:
        raise kernels.KernelError(
            f"device '{device.name.strip()}' compiles nothing, and no bitstream of the network's kernels is loaded:"
            " `spark-accel kernels build` makes one, load its model before the network"
        )
    program = quiet_build.build(cl.Program(context, tier.text()), tier.build_options())
    return Built(context, tier, program, "network")


class OpenCLNetwork(Network):
    """A valid `plan` on `device`, bit for bit the numpy reference. See `Network` for how a batch is staged and run.

    `tier` is the setting `kernels`, the tier that runs is the attribute `tier`. `bitstream` is what a board holds
    already; without one its program is compiled, where its driver can.
    Making it compiles the kernels, packs the weights and, save on a board, runs it, several times where that shows what
    is faster (`fastest_launch.py`), so that nothing is left for the first batch.
    Raises DeviceMemoryError where it does not fit, KernelError where no kernels suit the device.
    """

    def __init__(
        self, plan: Plan, device: cl.Device, max_batch: int, tier: str = "auto", bitstream: Built | None = None
    ) -> None:
        super().__init__(plan, max_batch)
        suitable = kernels.suitable("network", tier, properties(device))
        for number, chosen in enumerate(suitable):
            try:
                loaded = bitstream if bitstream is not None and chosen.name == bitstream.tier.name else None
                self._take(loaded or _built(device, chosen.name))
            except UnsupportedNetwork as error:
                if number == len(suitable) - 1:
                    raise
                following = suitable[number + 1].name
                _log.warning("the network runs on tier '%s', since '%s' can't: %s", following, chosen.name, error)
                continue
            break
        if not self.program:  # a board may be at work with another one
            self.run_staged(1)

    @property
    def program(self) -> str:
        """See Network."""
        return self._program_name if isinstance(self.execution, EngineCalls) else ""

    def activate(self) -> None:
        """See Network."""
        if isinstance(self.execution, EngineCalls):
            self.execution.activate()

    def _take(self, built: Built) -> None:
        self.tier = built.tier.name
        self._program_name = built.name
        self._memory = NetworkMemory(cl.CommandQueue(built.context))
        kind = _KINDS.get(built.tier.layouts["weights"], LayerCalls)
        self.execution: Execution = kind(self.plan, built.tier, built.program, self._memory, self.max_batch)

    @property
    def _staging(self) -> UInt8:
        return self.execution.images

    def _begin_staged(self, n: int) -> Begun[Float32]:
        with self._memory.shortage_named():
            begun = self.execution.begin(n)

        def result() -> Float32:
            with self._memory.shortage_named():  # some drivers give memory at its first use
                return begun.result()

        return Begun(result, begun.wait)

    def _profile_staged(self, n: int) -> list[float]:
        with self._memory.shortage_named():
            return self.execution.profile(n)
