"""Intel's FPGA emulator for tests: a process of its own, since its OpenCL loader and PoCL's can't share one."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from spark_accel.daemon import loaders


@pytest.fixture(scope="session")
def emulator() -> Iterator[ProcessPoolExecutor]:
    """Runs functions, and what they are given, where the emulator is the only OpenCL platform."""
    if loaders.EMULATOR not in loaders.names():
        pytest.skip("no FPGA emulator: pip install 'spark-accel[fpga]'")
    with pytest.MonkeyPatch.context() as patch:
        for key, value in loaders.environment(loaders.EMULATOR).items():
            patch.setenv(key, value)
        pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        pool.submit(os.getpid).result()  # it has started, in this environment
    with pool:
        yield pool
