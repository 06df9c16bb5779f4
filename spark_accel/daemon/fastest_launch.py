"""How a network is launched the fastest way: which layers are made by Winograd's algorithm.

All ways give the same bits.
"""

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from spark_accel.daemon.kernels import Tier
from spark_accel.daemon.network_program import IMAGES_A_GROUP, suited_to_winograd
from spark_accel.daemon.opencl_launch import NetworkLaunch
from spark_accel.daemon.opencl_network_memory import NetworkMemory
from spark_accel.networks.plan import Plan

_TRIALS = 3


def fastest_launch(plan: Plan, tier: Tier, built: cl.Program, memory: NetworkMemory, max_batch: int) -> NetworkLaunch:
    """See NetworkLaunch. Raises DeviceMemoryError where it does not fit."""
    by_winograd = faster_by_winograd(plan, tier, built, memory, max_batch)
    try:
        return NetworkLaunch(plan, tier, built, memory, max_batch, by_winograd=by_winograd)
    except MemoryError:  # the device's, too
        if not by_winograd:
            raise
    memory.clear()
    return NetworkLaunch(plan, tier, built, memory, max_batch, by_winograd=frozenset())  # its weights are fewer bytes


def faster_by_winograd(
    plan: Plan, tier: Tier, built: cl.Program, memory: NetworkMemory, max_batch: int
) -> frozenset[str]:
    """The outputs of the layers that had best be made by Winograd's algorithm.

    Without VNNI all that it suits: bytes are hardly multiplied faster than shorts. With VNNI they are, twice as fast,
    so that it depends on the processor: batches are run both ways, with four images a thread if there may be so many.
    """
    suited = suited_to_winograd(plan, tier)
    if not suited or "PAIRS" in tier.defines:
        return suited
    n = min(max_batch, IMAGES_A_GROUP * memory.queue.device.max_compute_units)

    def seconds(by_winograd: frozenset[str]) -> npt.NDArray[np.float64]:
        launch = NetworkLaunch(plan, tier, built, NetworkMemory(memory.queue), n, by_winograd=by_winograd)
        launch.begin(n).result()
        least: npt.NDArray[np.float64] = np.array([launch.profile(n) for _ in range(_TRIALS)]).min(axis=0)
        return least

    try:
        faster = seconds(suited) < seconds(frozenset())
    except (MemoryError, cl.MemoryError):  # without, the network may fit
        return frozenset()
    return suited & {layer.output for layer, gains in zip(plan.layers, faster, strict=True) if gains}
