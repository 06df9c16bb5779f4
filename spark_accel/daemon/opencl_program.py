"""The estimators' kernels, compiled: a program for each kernel family and precision, built when it is first wanted."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pyopencl as cl

from spark_accel.daemon import kernels
from spark_accel.daemon.devices import properties

Argument = cl.Buffer | int | float | None


class Program:
    """The kernels of one family, for data of one type (`real`: float32 or float64).

    `lanes` is how many elements a vector of its tier has, `defines` are the tier's.
    """

    def __init__(self, context: cl.Context, tier: kernels.Tier, real: np.dtype[Any]) -> None:
        self.real = real
        self.defines = tier.defines
        self.lanes = tier.defines["VECTOR_BYTES"] // real.itemsize
        options = [*tier.build_options(), f"-DDOUBLE={int(real.itemsize == 8)}"]
        # pyopencl's own cache of binaries is not safe for several processes; drivers have theirs.
        program = cl.Program(context, tier.text())
        program.build(options=options, cache_dir=False)  # type: ignore[arg-type]
        self._kernels = {kernel.function_name: kernel for kernel in program.all_kernels()}

    def enqueue(self, queue: cl.CommandQueue, name: str, items: int, *arguments: Argument) -> None:
        """Enqueues kernel `name` for so many work items. An int is an OpenCL int, a float a double."""
        kernel = self._kernels[name]
        for index, argument in enumerate(arguments):
            if isinstance(argument, int):
                kernel.set_arg(index, np.int32(argument))
            elif isinstance(argument, float):
                kernel.set_arg(index, np.float64(argument))
            else:
                kernel.set_arg(index, argument)
        # A CPU's work items are best left alone: vectors are explicit in the kernels.
        local_size = (1,) if queue.device.type & cl.device_type.CPU else None
        cl.enqueue_nd_range_kernel(queue, kernel, (items,), local_size)


class Programs:
    """The families of one device. `tier` None takes, of each family, the tier that suits the device."""

    def __init__(self, context: cl.Context, device: cl.Device, tier: str | None = None) -> None:
        self._context = context
        self._properties = properties(device)
        self._tier = tier
        self._get = functools.cache(self._built)

    def get(self, family: str, real: np.dtype[Any]) -> Program:
        """The family's program; raises kernels.KernelError if no tier suits the device."""
        return self._get(family, np.dtype(real))

    def _built(self, family: str, real: np.dtype[Any]) -> Program:
        found = kernels.tiers(Path(kernels.folder()) / family)
        if self._tier is not None:
            found = tuple(one for one in found if one.name == self._tier)
        return Program(self._context, kernels.select(found, self._properties), real)
