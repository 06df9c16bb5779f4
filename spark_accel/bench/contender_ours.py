"""Our int8 network as a worker of the daemon runs it, without daemon and Spark."""

import statistics
from pathlib import Path
from typing import Any

from spark_accel import settings
from spark_accel.bench.contender import Contender, Float32, Job, UInt8
from spark_accel.bench.network_limits import Arithmetic, arithmetic
from spark_accel.bench.network_work import multiplications
from spark_accel.daemon import devices
from spark_accel.daemon.network import Network
from spark_accel.daemon.opencl_network import OpenCLNetwork
from spark_accel.daemon.reference_network import ReferenceNetwork
from spark_accel.networks import plan


class Ours(Contender):
    """See the file's head."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        chosen = settings.from_environment(job.settings)
        self._facts = devices.select(devices.discover_in_subprocess(), chosen.device, chosen.fallback)[0]
        self._plan = plan.load(Path(job.plan))
        self._arithmetic: Arithmetic | None = None
        if self._facts == devices.REFERENCE:
            self._network: Network = ReferenceNetwork(self._plan, job.largest)
        else:
            device = devices.open_device(self._facts.id)
            self._network = network = OpenCLNetwork(self._plan, device, job.largest)
            self._arithmetic = arithmetic(device, network.tier)

    @property
    def about(self) -> str:
        """See Contender."""
        tier = f", tier {self._network.tier}" if isinstance(self._network, OpenCLNetwork) else ""
        return f"{self._facts.id} ({self._facts.platform}: {self._facts.name}){tier}"

    def prepare(self, batch: int) -> None:
        """Nothing: one network runs all sizes."""

    def put(self, images: UInt8) -> None:
        """See Contender."""
        self._network.input_view(len(images))[:] = images

    def answer(self) -> Float32:
        """See Contender."""
        return self._network.run_staged(self.batch)

    def profile(self, batch: int, repeat: int) -> dict[str, Any] | None:
        """Layers with kind, multiplications an image and median seconds a batch; the device's limit."""
        self.set_up(batch)
        runs = [self._network.profile(batch) for _ in range(repeat)]
        seconds = [statistics.median(run[index][1] for run in runs) for index in range(len(runs[0]))]
        limit = self._arithmetic.multiplications_a_second() if self._arithmetic is not None else None
        layers = [
            {
                "name": layer.name,
                "kind": layer.kind,
                "multiplications": multiplications(self._plan, layer),
                "seconds": one,
            }
            for layer, one in zip(self._plan.layers, seconds, strict=True)
        ]
        return {"batch": batch, "layers": layers, "limit": limit}

    def arithmetic(self, milliseconds: float, seconds: float) -> list[float]:
        """See Contender."""
        return [] if self._arithmetic is None else self._arithmetic.calls(milliseconds, seconds)
