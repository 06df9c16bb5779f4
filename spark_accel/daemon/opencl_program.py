"""The estimators' kernels, compiled: a program for each kernel family and precision, built when it is first wanted."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyopencl as cl

from spark_accel.daemon import kernels, quiet_build
from spark_accel.daemon.devices import properties

Argument = cl.Buffer | int | float | None


class Program:
    """The kernels of one family, for rows that are stored in one type (`stored`: float32 or float64).

    `real` is the type they compute in, `lanes` how many of these a vector of the tier has, `defines` are the tier's.
    """

    def __init__(self, context: cl.Context, tier: kernels.Tier, stored: np.dtype[Any]) -> None:
        self.stored = stored
        self.real = np.dtype(np.float64) if tier.defines.get("ALL_DOUBLE") else stored
        self.defines = tier.defines
        self.lanes = tier.defines["VECTOR_BYTES"] // self.real.itemsize
        options = [*tier.build_options(), f"-DDOUBLE={int(stored.itemsize == 8)}", "-w"]  # nobody reads warnings here
        program = quiet_build.build(cl.Program(context, tier.text()), options)
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
    """The families of one device; of each the tier that suits it and the setting `kernels`.

    Raises kernels.KernelError where there is none.
    """

    def __init__(self, context: cl.Context, families: Iterable[str], tier: str = "auto") -> None:
        self._context = context
        self._built: dict[tuple[str, np.dtype[Any]], Program] = {}
        has = properties(context.devices[0])
        self._tiers = {family: kernels.choose(family, tier, has) for family in families}

    def get(self, family: str, stored: np.dtype[Any]) -> Program:
        """The family's kernels for data of a type, compiled when they are first asked for."""
        key = family, stored
        if key not in self._built:
            self._built[key] = Program(self._context, self._tiers[family], stored)
        return self._built[key]
