"""For tests of the network's kernels: a tier on a device, plans around layers, and equality with the reference."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import plain_kernels
import pyopencl as cl
import pytest
from kernel_cases import DEVICE
from plans import Shape, random_convolution, random_dense

from spark_accel.daemon import fastest_launch, kernels, network_program, opencl_launch, opencl_layers, opencl_network
from spark_accel.daemon.devices import properties
from spark_accel.daemon.network_program import suited_to_winograd
from spark_accel.daemon.opencl_network import OpenCLNetwork
from spark_accel.networks import reference
from spark_accel.networks.plan import Dense, GlobalAveragePool, Layer, Plan, output_shape
from spark_accel.networks.plan import validate as validate_plan

UInt8 = npt.NDArray[np.uint8]
# The tier `fpga` needs an emulator in a process of its own: test_fpga_network.py.
TIERS = [tier.name for tier in kernels.tiers(kernels.folder() / "network") if tier.name != "fpga"]


class Target(NamedTuple):
    """A device and a tier that it can run."""

    device: cl.Device
    tier: str

    def network(self, plan: Plan, max_batch: int) -> OpenCLNetwork:
        return OpenCLNetwork(plan, self.device, max_batch, self.tier)


@contextmanager
def target_of(tier: str, folder: Path) -> Iterator[Target]:
    """The tier on the tests' device; `folder` gets kernels with the instructions spelled out that the device lacks."""
    (chosen,) = (one for one in kernels.tiers(kernels.folder() / "network") if one.name == tier)
    lacking = properties(DEVICE).lacks(chosen.requires)
    if lacking and not ("vnni" in tier and DEVICE.type & cl.device_type.CPU):
        pytest.skip(f"the device lacks {', '.join(lacking)}")
    with pytest.MonkeyPatch.context() as patch:
        if lacking:
            plain_kernels.write(folder)
            patch.setattr(kernels, "_FOLDERS", (folder,))
            opencl_network._built.cache_clear()
        yield Target(DEVICE, tier)
        opencl_network._built.cache_clear()


@pytest.fixture(scope="module", params=TIERS)
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target_of(request.param, tmp_path_factory.mktemp("kernels")) as target:
        yield target


def plan_around(rng: np.random.Generator, shape: Shape, *layers: Layer) -> Plan:
    """`layers` from activation `x` of this shape to `y`, with what makes them a network."""
    height, width, channels = shape
    shapes = {"x": shape}
    for layer in layers:
        assert not isinstance(layer, Dense)
        shapes[layer.output] = output_shape(layer, shapes[layer.input])
    first = random_convolution(rng, (height, width, 3), channels, (1, 1), output="x", relu=False)
    rows, columns, out = shapes["y"]
    average = GlobalAveragePool("average", "y", "average", np.full(out, 1 / (rows * columns), np.float32))
    plan = Plan(height, width, (first, *layers, average, random_dense(rng, out, 5, input="average")))
    validate_plan(plan)
    return plan


def assert_equals_reference(target: Target, plan: Plan, images: UInt8) -> None:
    with pytest.MonkeyPatch.context() as patch:  # all images have activations of their own, to be looked at
        patch.setattr(opencl_launch, "group_size", lambda n, _: n)
        patch.setattr(opencl_launch, "largest_group", lambda n, _: n)
        patch.setattr(network_program, "best_split", lambda _: 0)
        patch.setattr(opencl_layers, "_PASS_BYTES", 2**30)
        patch.setattr(fastest_launch, "faster_by_winograd", lambda plan, tier, *_: suited_to_winograd(plan, tier))
        network = target.network(plan, len(images))
        logits = network.run(images)
        found = {name: network.execution.activation(name, len(images)) for name in ("y", "average")}

    expected = dict(reference.activations(plan, images))
    np.testing.assert_array_equal(found["y"], expected["y"])
    np.testing.assert_array_equal(found["average"], expected["average"])
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits.view(np.uint32), expected["logits"].view(np.uint32))
