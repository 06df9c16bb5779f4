"""The two examples on Intel's FPGA emulator, through a daemon whose device it is; and which files an FPGA takes."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from kernel_models import TWICE, black_scholes, install_examples, options, write_kernel
from nodes import devices, node

from spark_accel.client import Client
from spark_accel.errors import ModelError
from spark_accel.settings import Settings

# Not what its name says: the answer tells which file was taken.
CHANNEL = """
    #pragma OPENCL EXTENSION cl_intel_channels : enable
    __kernel void twice(__global float *x, __global float *y, int n) {
        int i = get_global_id(0);
        if (i < n) y[i] = 3 * x[i];
    }"""


@pytest.fixture(scope="module")
def fpga(tmp_path_factory: pytest.TempPathFactory, emulator: ProcessPoolExecutor) -> Iterator[tuple[Settings, Client]]:
    assert emulator
    folder = tmp_path_factory.mktemp("node")
    install_examples(folder / "repository")
    write_kernel(folder / "repository", "twice", TWICE)
    write_kernel(folder / "repository", "twice", CHANNEL, file="fpga.cl")
    with node(folder, device="fpga") as settings:
        client = Client(settings)
        yield settings, client
        client.close()


def test_the_device_is_the_emulator(fpga: tuple[Settings, Client]) -> None:
    settings, _ = fpga

    assert devices(settings)[0].id == "fpga-emulator-0"


def test_vector_addition_is_numpys(fpga: tuple[Settings, Client]) -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 10_001)).astype(np.float32)

    assert np.array_equal(fpga[1].kernel("vector_add", a=a, b=b)["sum"], a + b)


def test_black_scholes_is_its_definition_in_numpy(fpga: tuple[Settings, Client]) -> None:
    columns = options(1000)

    answer = fpga[1].kernel("black_scholes", **columns, rate=0.03)

    call, put = black_scholes(**columns, rate=0.03)
    np.testing.assert_allclose(answer["call"], call, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(answer["put"], put, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("text", ["", "\0\1"])
def test_source_without_a_kernel_is_refused_as_on_a_processor(fpga: tuple[Settings, Client], text: str) -> None:
    settings, client = fpga
    write_kernel(settings.repository, "nothing", text)

    with pytest.raises(ModelError, match=r"portable.cl of model 'nothing' has no kernel 'nothing', only none: set"):
        client.kernel("nothing", x=[1])


def test_source_with_channels_comes_before_what_all_devices_take(fpga: tuple[Settings, Client]) -> None:
    assert fpga[1].kernel("twice", x=[1, 2])["y"].tolist() == [3, 6]  # what fpga.cl says
