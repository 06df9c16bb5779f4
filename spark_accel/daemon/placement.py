"""On which devices a model has instances: its configuration's `instance_group`, as far as it says so.

Triton's kinds know no FPGAs, so a group's name may be a device's kind or id (`fpga`, `cpu-0`), which then decides. Else
its kind does: KIND_CPU is the processor, KIND_GPU are the graphics cards with the numbers in `gpus`, or all, any other
kind all devices. A device runs one batch at a time: `count` counts for nothing.
"""

import logging
import re
from collections.abc import Iterable, Sequence

from tritonclient.grpc.model_config_pb2 import ModelInstanceGroup

from spark_accel.daemon.devices import KINDS, REFERENCE, DeviceFacts

_log = logging.getLogger(__name__)

_SELECTOR = re.compile(r"(?:fpga|fpga-emulator|gpu|cpu)-\d+|" + "|".join((*KINDS, REFERENCE.kind)))


def devices_for(groups: Sequence[ModelInstanceGroup], there: Iterable[DeviceFacts]) -> tuple[DeviceFacts, ...]:
    """Those of the devices that one of the groups means; all without a group. Logs what a free name means."""
    there = tuple(there)
    for group in groups:
        if group.name and not _SELECTOR.fullmatch(group.name):
            meant = ", ".join(device.id for device in there if _means(group, device)) or "none"
            _log.info("instance_group '%s' names no device or kind; by its own kind it means %s", group.name, meant)
    return tuple(device for device in there if not groups or any(_means(group, device) for group in groups))


def _means(group: ModelInstanceGroup, device: DeviceFacts) -> bool:
    if _SELECTOR.fullmatch(group.name):
        return group.name in (device.id, device.kind)
    if group.kind == ModelInstanceGroup.KIND_CPU:
        return device.kind in ("cpu", REFERENCE.kind)
    if group.kind == ModelInstanceGroup.KIND_GPU:
        return device.kind == "gpu" and (not group.gpus or int(device.id.rpartition("-")[2]) in group.gpus)
    return True
