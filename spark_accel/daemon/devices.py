"""The OpenCL devices of this node as facts, and which of them the setting `device` means.

`python -m spark_accel.daemon.devices` prints the facts as JSON: drivers are loaded there, so that one that crashes or
hangs takes nobody else with it, in a process for each group of drivers that get on (`loaders.py`). Choosing is done by
pure functions over the facts. Only `discover` and what works on a device itself (`open_device`, `properties`) import
pyopencl; the daemon's main process must not call those.
"""

import json
import logging
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

from spark_accel.daemon import loaders, pocl_processor
from spark_accel.daemon.kernels import Properties
from spark_accel.errors import AccelError

if TYPE_CHECKING:
    import pyopencl as cl

_log = logging.getLogger(__name__)

KINDS = ("fpga", "gpu", "cpu")  # as `auto` prefers them


class DeviceError(AccelError):
    """The device that is asked for is not there."""


@dataclass(frozen=True)
class DeviceFacts:
    """One device. `id` is its kind and its number among those of its kind, in the order of OpenCL's platforms.

    `loader` is the group of drivers, of `loaders.py`, that a process must have to open it.
    """

    id: str
    kind: str
    platform: str
    name: str
    version: str
    compute_units: int
    memory_bytes: int
    loader: str = loaders.SYSTEM

    @property
    def emulated(self) -> bool:
        """Whether it is no board but a program that behaves as one."""
        return self.loader == loaders.EMULATOR


REFERENCE = DeviceFacts("reference", "reference", "numpy", "numpy reference", "", 0, 0)


def select(facts: Sequence[DeviceFacts], specification: str, fallback: str) -> tuple[DeviceFacts, ...]:
    """The devices that the setting `device` means.

    `auto` is `fpga`, else `gpu`, else `cpu`, never an emulated device. A kind means all devices of it, see `of_kind`.
    `PLATFORM:DEVICE` are parts of the two names, in any case. Several are separated by commas. Where nothing matches,
    the reference with a warning (`fallback` cpu) or DeviceError that lists the devices (`fallback` error).
    """
    parts = [part.strip() for part in specification.split(",")]
    matching = {one: None for part in parts for one in _matching(facts, part)}
    if matching:
        return tuple(matching)
    message = no_match(facts, specification)
    if fallback == "error":
        raise DeviceError(f"{message}; choose one of them, 'reference', or allow 'fallback=cpu'")
    _log.warning("%s; the numpy reference does the work, slowly", message)
    return (REFERENCE,)


def no_match(facts: Sequence[DeviceFacts], specification: str) -> str:
    """What to say where nothing matches."""
    there = ", ".join(f"{one.id} ({one.platform}: {one.name})" for one in facts if one != REFERENCE) or "none"
    return f"no OpenCL device matches 'device={specification}'; there are: {there}"


def of_kind(facts: Sequence[DeviceFacts], kind: str) -> tuple[DeviceFacts, ...]:
    """All devices of a kind: emulated ones only where there is no other, and of the host's processor, which several
    platforms may offer, one."""
    of_it = [one for one in facts if one.kind == kind]
    found = tuple(one for one in of_it if not one.emulated) or tuple(of_it)
    return found[:1] if kind == "cpu" else found


def discover() -> tuple[DeviceFacts, ...]:
    """The OpenCL devices that this process can load, and the reference, which is always there, last."""
    return (*(facts for facts, _ in _opencl_devices()), REFERENCE)


def discover_in_subprocess(timeout: float = 60.0) -> tuple[DeviceFacts, ...]:
    """`discover`, in a process of its own for each group of drivers; of one that crashes or takes more than `timeout`
    seconds there is a warning and no device."""
    with ThreadPoolExecutor() as pool:
        groups = list(pool.map(partial(_discover_group, timeout), loaders.names()))
    return (*(one for group in groups for one in group if one != REFERENCE), REFERENCE)


def _discover_group(timeout: float, loader: str) -> tuple[DeviceFacts, ...]:
    command = [sys.executable, "-m", "spark_accel.daemon.devices"]
    environment = loaders.process_environment(loader)
    for _ in range(2):  # a second time if it was killed, which for want of memory any process may be
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False, env=environment
            )
        except subprocess.TimeoutExpired:
            return _no_devices(f"a driver hangs (no answer in {timeout:g} s)", b"")
        if done.returncode >= 0:
            break
    if done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
        return _no_devices(f"a driver crashes ({how})", done.stderr)
    for line in done.stderr.decode(errors="replace").splitlines():
        _log.info("while looking for OpenCL devices: %s", line)
    try:
        rows = json.loads(done.stdout.splitlines()[-1])  # drivers may print, too
        return tuple(DeviceFacts(**row) for row in rows)
    except (ValueError, IndexError, TypeError):
        return _no_devices("the answer is not readable", done.stdout)


def open_device(id: str) -> "cl.Device":
    """The OpenCL device with this id; raises DeviceError if it is not there (any more)."""
    devices = {facts.id: device for facts, device in _opencl_devices()}
    if id not in devices:
        raise DeviceError(f"device '{id}' is not there; there are: {', '.join(devices) or 'none'}")
    pocl_processor.let_it_compile(devices[id])
    return devices[id]


def properties(device: "cl.Device") -> Properties:
    """What kernels may require of a device."""
    import pyopencl as cl  # noqa: PLC0415

    version = re.search(r"(\d+)\.(\d+)", device.opencl_c_version)
    modes = {name: value for name, value in vars(cl.device_fp_config).items() if name.isupper()}
    is_cpu = bool(device.type & cl.device_type.CPU)
    return Properties(
        opencl_c=(int(version[1]), int(version[2])) if version else (1, 0),
        compiler=bool(device.compiler_available),
        floating_point=frozenset(name for name, value in modes.items() if device.single_fp_config & value),
        extensions=frozenset(device.extensions.split()),
        cpu_flags=pocl_processor.cpu_flags() if is_cpu else frozenset(),
        target_attribute=is_cpu and bool(device.compiler_available) and _has_target_attribute(device),
    )


def kind(device: "cl.Device") -> str:
    """`fpga`, `gpu`, `cpu` or `other`."""
    import pyopencl as cl  # noqa: PLC0415

    for bit, name in ((cl.device_type.ACCELERATOR, "fpga"), (cl.device_type.GPU, "gpu"), (cl.device_type.CPU, "cpu")):
        if device.type & bit:
            return name
    return "other"


def has_own_memory(kind: str) -> bool:
    """Whether devices of a kind have memory of their own, so that what they compute with is copied there."""
    return kind not in {"cpu", REFERENCE.kind}


def _has_target_attribute(device: "cl.Device") -> bool:
    import pyopencl as cl  # noqa: PLC0415

    source = """
        #if !defined(__clang__) || !defined(__x86_64__) || !__has_attribute(target)
        #error
        #endif
        __attribute__((target("avx512f"), noinline)) void twice(__global float16 *x) { x[0] += x[0]; }
        __kernel void attempt(__global float16 *x) { twice(x); }
    """
    try:
        pocl_processor.build(device, source)
    except cl.Error:
        return False
    return True


def _matching(facts: Sequence[DeviceFacts], specification: str) -> tuple[DeviceFacts, ...]:
    if specification == REFERENCE.kind:
        return (REFERENCE,)
    if ":" in specification:
        platform, name = (part.strip().lower() for part in specification.split(":", 1))
        usable = (one for one in facts if one.kind in KINDS)
        return tuple(one for one in usable if platform in one.platform.lower() and name in one.name.lower())
    if specification != "auto":
        return of_kind(facts, specification)
    boards = [one for one in facts if not one.emulated]
    return next(filter(None, (of_kind(boards, kind) for kind in KINDS)), ())


def _no_devices(reason: str, output: bytes) -> tuple[DeviceFacts, ...]:
    last = output.decode(errors="replace").strip().splitlines()[-1:]
    _log.warning("the OpenCL devices of this node can't be listed: %s", ": ".join((reason, *last)))
    return (REFERENCE,)


def _opencl_devices() -> Iterator[tuple[DeviceFacts, "cl.Device"]]:
    """All devices whose driver answers, in a stable order."""
    import pyopencl as cl  # noqa: PLC0415

    try:
        platforms = cl.get_platforms()
    except cl.Error as error:  # no platform at all is an error in OpenCL
        _log.warning("no OpenCL platform: %s", error)
        return
    numbers: Counter[str] = Counter()
    for platform in platforms:
        try:
            devices = platform.get_devices()
        except cl.Error as error:
            _log.warning("OpenCL platform '%s' has no devices: %s", platform.name, error)
            continue
        for device in devices:
            one = kind(device)
            yield _facts(device, one, numbers[one]), device
            numbers[one] += 1


def _facts(device: "cl.Device", kind: str, number: int) -> DeviceFacts:
    return DeviceFacts(
        id=f"{loaders.current() or kind}-{number}",
        kind=kind,
        platform=device.platform.name.strip(),
        name=device.name.strip(),
        version=device.version.strip(),
        compute_units=device.max_compute_units,
        memory_bytes=device.global_mem_size,
        loader=loaders.current(),
    )


if __name__ == "__main__":
    print(json.dumps([asdict(one) for one in discover()]))
