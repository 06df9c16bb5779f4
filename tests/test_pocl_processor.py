"""PoCL builds kernels on this machine's processor, whether it knows it or not."""

import ctypes

from spark_accel.daemon.devices import open_device, properties
from spark_accel.daemon.pocl_processor import _addresses_of_the_name, build, cpu_flags


def test_a_device_that_is_opened_can_build_kernels() -> None:
    build(open_device("cpu-0"), "__kernel void add(__global float8 *x) { x[0] = x[1] * x[2] + x[3]; }")


def test_a_name_is_found_by_the_pointers_to_it_and_nothing_else_in_a_record_is_followed() -> None:
    unknown, known = ctypes.create_string_buffer(b"generic"), ctypes.create_string_buffer(b"znver3")
    record = (ctypes.c_uint64 * 512)(ctypes.addressof(known), 0, 2**64 - 1, 12345, ctypes.addressof(unknown))

    assert _addresses_of_the_name(ctypes.addressof(record)) == [ctypes.addressof(unknown)]


def test_flags_of_the_processor_are_linuxs() -> None:
    assert all(flag == flag.lower() for flag in cpu_flags())


def test_a_processor_has_its_flags_among_its_properties() -> None:
    assert properties(open_device("cpu-0")).cpu_flags == cpu_flags()
