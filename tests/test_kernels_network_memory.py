"""The memory that a network takes on a device: an error where there is too little, all of it given back."""

import gc
import re
import weakref

import numpy as np
import pyopencl as cl
import pytest
from kernel_cases import DEVICE
from network_targets import Target, target
from plans import random_convolution, random_dense, random_plan

from spark_accel.daemon.begun import Begun
from spark_accel.daemon.network import DeviceMemoryError
from spark_accel.daemon.opencl_network import OpenCLNetwork
from spark_accel.networks.plan import GlobalAveragePool, Plan

__all__ = ["target"]


def test_a_network_too_large_for_the_device_is_an_error_that_says_how_much_it_wants() -> None:
    channels = int(DEVICE.max_mem_alloc_size) // 2**22 // 2 * 2 + 2
    rng = np.random.default_rng(0)
    plan = Plan(
        2048,
        2048,
        (
            random_convolution(rng, (2048, 2048, 3), channels, (1, 1), output="y"),
            GlobalAveragePool("average", "y", "average", np.full(channels, 1, np.float32)),
            random_dense(rng, channels, 5, input="average"),
        ),
    )

    wanted = rf"wants [\d,.]+ MiB of the memory of device '{re.escape(DEVICE.name)}'.*the device has"
    with pytest.raises(DeviceMemoryError, match=wanted):
        OpenCLNetwork(plan, DEVICE, 4)


def test_memory_that_the_driver_lacks_at_its_first_use_is_such_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    network = OpenCLNetwork(random_plan(np.random.default_rng(0)), DEVICE, 1)
    code: int = cl.status_code.MEM_OBJECT_ALLOCATION_FAILURE
    error = cl.MemoryError(cl._cl._ErrorRecord("", code, "clEnqueueNDRangeKernel"))  # as a driver's call raises it

    def lacking() -> None:
        raise error

    monkeypatch.setattr(network.execution, "begin", lambda _n: Begun(lacking))

    with pytest.raises(DeviceMemoryError, match=r"the network wants .* for 1 images at once .*ALLOCATION_FAILURE"):
        network.run_staged(1)


def test_the_images_of_the_largest_batch_count(target: Target) -> None:
    plan = random_plan(np.random.default_rng(0))

    with pytest.raises(DeviceMemoryError, match=r"for 2147483647 images at once"):
        target.network(plan, 2**31 - 1)


def test_a_network_that_is_dropped_has_given_its_memory_back(target: Target) -> None:
    network = target.network(random_plan(np.random.default_rng(0)), 3)
    network.run_staged(3)
    memory = weakref.ref(network._memory)

    gc.disable()  # a worker that has nothing to do collects no garbage either
    try:
        del network
        assert memory() is None
    finally:
        gc.enable()
