"""On which devices a model has instances, over made-up devices."""

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from spark_accel.daemon.devices import REFERENCE, DeviceFacts
from spark_accel.daemon.placement import devices_for


def device(id: str) -> DeviceFacts:
    return DeviceFacts(id, id.split("-", maxsplit=1)[0], "Vendor", "Board", "OpenCL 1.2", 4, 2**32)


ALL = (*map(device, ("fpga-0", "fpga-emulator-0", "gpu-0", "gpu-1", "cpu-0")), REFERENCE)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ("", [one.id for one in ALL]),
        ("instance_group { count: 2 }", [one.id for one in ALL]),
        ("instance_group { kind: KIND_CPU }", ["cpu-0", "reference"]),
        ("instance_group { kind: KIND_GPU }", ["gpu-0", "gpu-1"]),
        ("instance_group { kind: KIND_GPU gpus: [1] }", ["gpu-1"]),
        ('instance_group { name: "fpga" }', ["fpga-0", "fpga-emulator-0"]),
        ('instance_group { name: "fpga-0" kind: KIND_CPU }', ["fpga-0"]),
        ('instance_group [{ name: "fpga-emulator-0" }, { kind: KIND_CPU }]', ["fpga-emulator-0", "cpu-0", "reference"]),
        ('instance_group { name: "resnet50" kind: KIND_GPU }', ["gpu-0", "gpu-1"]),
        ('instance_group { name: "fpga-7" }', []),
    ],
)
def test_instance_groups_choose_devices(groups: str, expected: list[str]) -> None:
    config = text_format.Parse(groups, ModelConfig())

    assert [one.id for one in devices_for(config.instance_group, ALL)] == expected


def test_a_name_that_is_no_device_is_logged_with_the_devices_that_it_means(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    config = text_format.Parse('instance_group [{ name: "fgpa" kind: KIND_GPU }, { name: "fpga" }]', ModelConfig())

    devices_for(config.instance_group, ALL)

    assert caplog.messages == ["instance_group 'fgpa' names no device or kind; by its own kind it means gpu-0, gpu-1"]
