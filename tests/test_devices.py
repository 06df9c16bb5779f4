"""Which devices the setting `device` means, over made-up facts, and finding the real ones."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from spark_accel.daemon import loaders
from spark_accel.daemon.devices import (
    REFERENCE,
    DeviceError,
    DeviceFacts,
    discover,
    discover_in_subprocess,
    open_device,
    properties,
    select,
)
from spark_accel.daemon.loaders import EMULATOR


def device(id: str, platform: str = "Vendor", name: str = "Board") -> DeviceFacts:
    return DeviceFacts(id, id.split("-", maxsplit=1)[0], platform, name, "OpenCL 1.2", 4, 2**32)


CPU = device("cpu-0", "Portable Computing Language", "pthread-AMD EPYC")
SECOND_CPU = device("cpu-1", "Intel(R) OpenCL", "AMD EPYC")
GPU, SECOND_GPU = device("gpu-0", "NVIDIA CUDA", "H100"), device("gpu-1", "NVIDIA CUDA", "A100")
FPGA = device("fpga-0", "Intel(R) FPGA Emulation Platform for OpenCL(TM)", "Intel(R) FPGA Emulation Device")
OTHER = device("other-0", "Portable Computing Language", "custom")
ALL = (CPU, GPU, FPGA, SECOND_CPU, SECOND_GPU, OTHER, REFERENCE)


@pytest.mark.parametrize(
    ("facts", "specification", "expected"),
    [
        (ALL, "auto", [FPGA]),
        ((CPU, GPU, SECOND_GPU, REFERENCE), "auto", [GPU, SECOND_GPU]),
        ((CPU, SECOND_CPU, REFERENCE), "auto", [CPU]),
        (ALL, "fpga", [FPGA]),
        (ALL, "gpu", [GPU, SECOND_GPU]),
        (ALL, "cpu", [CPU]),
        (ALL, "reference", [REFERENCE]),
        (ALL, "nvidia:a100", [SECOND_GPU]),
        (ALL, "NVIDIA:", [GPU, SECOND_GPU]),
        (ALL, ":EPYC", [CPU, SECOND_CPU]),
        (ALL, "intel(r) opencl:epyc", [SECOND_CPU]),
        (ALL, "fpga,cpu", [FPGA, CPU]),
        (ALL, "nvidia:h100, gpu", [GPU, SECOND_GPU]),
        (ALL, "cpu,reference", [CPU, REFERENCE]),
        ((replace(FPGA, loader=EMULATOR), CPU), "auto", [CPU]),
        ((replace(FPGA, loader=EMULATOR), CPU), "fpga", [replace(FPGA, loader=EMULATOR)]),
        ((FPGA, replace(FPGA, id="fpga-emulator-0", loader=EMULATOR)), "fpga", [FPGA]),
    ],
)
def test_setting_device_selects(
    facts: tuple[DeviceFacts, ...], specification: str, expected: list[DeviceFacts]
) -> None:
    assert select(facts, specification, "error") == tuple(expected)


@pytest.mark.parametrize(
    ("facts", "specification"),
    [((REFERENCE,), "auto"), ((OTHER, REFERENCE), "auto"), ((CPU, REFERENCE), "gpu"), (ALL, "AMD:H100"), ((), "cpu")],
)
def test_nothing_matched_falls_back_with_a_warning(
    facts: tuple[DeviceFacts, ...], specification: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert select(facts, specification, "cpu") == (REFERENCE,)

    assert f"'device={specification}'" in caplog.text
    assert "reference" in caplog.text


def test_nothing_matched_is_an_error_that_lists_the_devices_where_fallback_is_error() -> None:
    with pytest.raises(DeviceError, match=r"'device=gpu'.*cpu-0 \(Portable Computing Language: pthread-AMD EPYC\)"):
        select((CPU, REFERENCE), "gpu", "error")
    with pytest.raises(DeviceError, match="there are: none"):
        select((REFERENCE,), "auto", "error")


def test_devices_found_in_a_subprocess_are_those_found_here() -> None:
    found = tuple(one for one in discover_in_subprocess() if not one.emulated)

    assert found == tuple(
        DeviceFacts(**{**one.__dict__, "memory_bytes": other.memory_bytes})  # PoCL's changes with free memory
        for one, other in zip(discover(), found, strict=True)
    )
    assert found[-1] == REFERENCE
    assert [one.kind for one in found].count("cpu") >= 1


def test_a_device_opens_by_its_id_and_has_what_kernels_require() -> None:
    opened = open_device("cpu-0")

    assert opened.max_compute_units == discover()[0].compute_units
    assert properties(opened).opencl_c >= (1, 2)
    assert "ROUND_TO_NEAREST" in properties(opened).floating_point


def test_an_unknown_device_is_an_error_that_names_it_and_what_there_is() -> None:
    with pytest.raises(DeviceError, match=r"'gpu-7' is not there; there are: cpu-0"):
        open_device("gpu-7")


@pytest.mark.parametrize(
    ("driver", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "a driver crashes (signal 11)"),
        ("import sys; sys.exit('no licence')", "a driver crashes (status 1): no licence"),
        ("import signal; signal.pause()", "a driver hangs"),
        ("import os; print('junk', flush=True); os._exit(0)", "the answer is not readable: junk"),
    ],
)
def test_a_driver_that_fails_leaves_the_reference_and_a_clear_warning(
    driver: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "pyopencl.py").write_text(driver)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    found = discover_in_subprocess(timeout=2 if "pause" in driver else 60)

    assert found == (REFERENCE,)
    assert message in caplog.text


def test_no_opencl_platform_leaves_the_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCL_ICD_VENDORS", str(tmp_path / "absent.icd"))  # what pyopencl carries is not looked for
    monkeypatch.setattr(loaders, "names", lambda: (loaders.SYSTEM,))

    assert discover_in_subprocess() == (REFERENCE,)


def test_without_a_home_that_can_be_written_the_processor_is_found_nevertheless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CACHE_HOME", "POCL_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/dev/null")  # no folder, for root neither
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    assert "cpu-0" in [one.id for one in discover_in_subprocess()]
    assert (tmp_path / f"spark-accel-{os.getuid()}").stat().st_mode & 0o777 == 0o700


def test_command_devices_prints_what_is_selected() -> None:
    environment = {**os.environ, "SPARK_ACCEL_DEVICE": "Portable:"}
    command = [sys.executable, "-m", "spark_accel", "devices", "--json"]

    done = subprocess.run(command, env=environment, capture_output=True, check=True)

    rows = {row["id"]: row for row in json.loads(done.stdout)}
    assert rows["cpu-0"]["selected"]
    assert not rows["reference"]["selected"]
    assert set(rows["cpu-0"]) == {
        *("id", "kind", "platform", "name", "version", "compute_units", "memory_bytes", "loader", "selected")
    }


def test_importing_devices_loads_no_opencl() -> None:
    code = "import sys, spark_accel.daemon.devices; sys.exit('pyopencl' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
