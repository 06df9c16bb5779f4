"""The workers of all devices that the daemon drives: which there are, and on which of them a model is loaded.

A worker, through all lives of its process, is `device_worker.py`'s. Which devices there are, and which are meant, is
`devices.py`'s; which batch a worker gets is `scheduler.py`'s.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from tritonclient.grpc.model_config_pb2 import ModelInstanceGroup

from spark_accel.daemon import devices
from spark_accel.daemon.device_worker import Worker
from spark_accel.daemon.devices import DeviceFacts
from spark_accel.daemon.link import Header
from spark_accel.daemon.model_config import ModelLoadError
from spark_accel.daemon.placement import devices_for
from spark_accel.daemon.worker_process import Limits
from spark_accel.errors import AccelError
from spark_accel.fpga import bitstream
from spark_accel.protocol import accel_pb2

_log = logging.getLogger(__name__)

_DISCOVERY_SECONDS = 60.0


class Supervisor:
    """The workers of all selected devices. `changed` is called when models can run on one, or can't any more.

    `selection`, `tier` and `fallback` are the settings `device`, `kernels` and `fallback`.
    """

    def __init__(
        self, selection: str, tier: str, fallback: str, changed: Callable[[], None], limits: Limits | None = None
    ) -> None:
        self._selection = selection
        self._tier = tier
        self._fallback = fallback
        self._changed = changed
        self._limits = limits or Limits()
        self._start: asyncio.Task[None] | None = None
        self._failure = ""
        self.boards_prepared: asyncio.Task[None] | None = None  # loads bitstreams, before what may run on them
        self.workers: list[Worker] = []

    def start(self) -> None:
        """Finds the devices and starts their workers, in the background."""
        self._start = asyncio.create_task(self._find())

    async def devices(self) -> accel_pb2.DevicesResponse:
        """Facts about the devices, once they are known, or why none, or the reference alone, can be had."""
        await self._started()
        return accel_pb2.DevicesResponse(devices=[worker.facts() for worker in self.workers], failure=self._failure)

    async def load(self, key: int, model: Header, instances: Sequence[ModelInstanceGroup] = ()) -> None:
        """Loads `model` on the devices that `instances` mean; raises ModelLoadError if none of them can."""
        await self._started()
        if not self.workers:
            raise ModelLoadError(f"Unavailable: {self._failure}")
        meant = devices_for(instances, [worker.device for worker in self.workers])
        if not meant:
            there = ", ".join(worker.device.id for worker in self.workers)
            raise ModelLoadError(
                f"Invalid argument: instance_group of model '{model['name']}' means none of the devices that this"
                f" daemon drives: {there}"
            )
        is_bitstream = model["config"].get("backend") == bitstream.BACKEND
        if self.boards_prepared is not None and not is_bitstream and any(one.kind == "fpga" for one in meant):
            await asyncio.wait([self.boards_prepared])
        loads = (worker.load(key, model) for worker in self.workers if worker.device in meant)
        outcomes = await asyncio.gather(*loads, return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        for failure in failures:
            if len(failures) == len(outcomes) or not isinstance(failure, ModelLoadError):
                await self.unload(key)
                raise failure
            _log.error("model '%s' does not run on all devices: %s", model["name"], failure)

    async def unload(self, key: int) -> None:
        """Unloads a model that no batch will name any more."""
        await asyncio.gather(*(worker.unload(key) for worker in self.workers))

    def close_region(self, region: int) -> None:
        """Has all workers close the file of a region that is gone."""
        for worker in self.workers:
            worker.close_region(region)

    async def close(self) -> None:
        """Ends all workers."""
        await self._started()
        await asyncio.gather(*(worker.close() for worker in self.workers))

    async def _started(self) -> None:
        if self._start is not None:
            await asyncio.shield(self._start)

    async def _find(self) -> None:
        known: tuple[DeviceFacts, ...] = (devices.REFERENCE,)
        if self._selection != devices.REFERENCE.id:
            known = await asyncio.to_thread(devices.discover_in_subprocess, _DISCOVERY_SECONDS)
        try:
            selected = devices.select(known, self._selection, self._fallback)
        except AccelError as error:
            _log.error("%s", error)
            self._failure = str(error)
            return
        if selected == (devices.REFERENCE,) and devices.REFERENCE.id not in self._selection:
            self._failure = devices.no_match(known, self._selection)
        for device in selected:
            _log.info("device %s: %s, %s", device.id, device.platform, device.name)
            worker = Worker(device, self._tier, self._limits, self._changed)
            worker.start()
            self.workers.append(worker)
