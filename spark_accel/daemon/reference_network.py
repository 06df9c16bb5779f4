"""A network on the numpy reference: what runs where no OpenCL device can be had."""

import time

import numpy as np

from spark_accel.daemon.begun import Begun
from spark_accel.daemon.network import Network
from spark_accel.networks import reference
from spark_accel.networks.plan import Float32, Plan, UInt8


class ReferenceNetwork(Network):
    """`reference.run` behind the interface of a device."""

    def __init__(self, plan: Plan, max_batch: int) -> None:
        super().__init__(plan, max_batch)
        self._images = np.zeros((max_batch, plan.height, plan.width, 3), np.uint8)

    @property
    def _staging(self) -> UInt8:
        return self._images

    def _begin_staged(self, n: int) -> Begun[Float32]:
        return Begun(lambda: reference.run(self.plan, self._images[:n]))

    def _profile_staged(self, n: int) -> list[float]:
        seconds = []
        start = time.perf_counter()
        for _ in reference.activations(self.plan, self._images[:n]):
            seconds.append(time.perf_counter() - start)
            start = time.perf_counter()
        return seconds
