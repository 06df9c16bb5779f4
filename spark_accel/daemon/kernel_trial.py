"""Compiles a user's kernel in a process of its own before a worker does: source that crashes the compiler, or keeps it
busy for ever, takes no worker with it. `python -m spark_accel.daemon.kernel_trial DEVICE`, with the model on stdin.
"""

import asyncio
import json
import signal
import sys
from pathlib import Path

from spark_accel.daemon import devices, loaders, parent
from spark_accel.daemon.devices import DeviceFacts
from spark_accel.daemon.link import Header
from spark_accel.daemon.model_config import ModelLoadError

SECONDS = 120.0


def wanted(model: Header, device: DeviceFacts) -> bool:
    """Whether a model is a user's kernel, which an OpenCL device compiles."""
    return model["config"].get("backend") == "opencl" and device != devices.REFERENCE


async def run(device: DeviceFacts, model: Header, seconds: float = SECONDS) -> None:
    """Compiles the kernel of `model` for a device; raises ModelLoadError."""
    what = f"the kernel of model '{model['name']}'"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        device.id,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=loaders.process_environment(device.loader),
    )
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    try:
        process.stdin.write(json.dumps(model).encode() + b"\n")  # left open: the process ends with the daemon
        said = await asyncio.wait_for(process.stdout.read(), seconds)
        code = await process.wait()
    except asyncio.TimeoutError:
        raise ModelLoadError(f"Invalid argument: {what} did not compile within {seconds:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code < 0:
        name = signal.Signals(-code).name
        raise ModelLoadError(f"Invalid argument: {what} crashes the compiler of device {device.id} ({name})")
    if code:
        raise ModelLoadError(f"Internal: {what} could not be tried on device {device.id}; see the daemon's log")
    if said:
        raise ModelLoadError(said.decode())


def main() -> None:
    """Runs the process, see the file's head."""
    from spark_accel.daemon.backends import BackendError  # noqa: PLC0415 - the daemon imports this file, but no OpenCL
    from spark_accel.daemon.own_kernel_backend import OwnKernelBackend  # noqa: PLC0415

    model = json.loads(sys.stdin.readline())
    parent.end_with_it()
    try:
        OwnKernelBackend(model["name"], Path(model["folder"]), model["config"], devices.open_device(sys.argv[1]))
    except BackendError as error:
        sys.stdout.write(str(error))


if __name__ == "__main__":
    main()
