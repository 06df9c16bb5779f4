"""Shared-memory regions: registering, status, unregistering, and requests whose tensors lie in them."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import eventually
from daemons import Daemon, region, region_file, running, slow_request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from infer_requests import X4, placed, request, tensor, x, y
from tritonclient.grpc import service_pb2 as pb

from spark_accel.daemon.regions import Regions
from spark_accel.daemon.request import RequestError
from spark_accel.protocol import accel_pb2, accel_pb2_grpc

PAGE = os.sysconf("SC_PAGESIZE")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(
        tmp_path_factory.mktemp("daemon"), ("identity", "slow", "two", "str"), SPARK_ACCEL_MEMORY_LIMIT="64k"
    ) as daemon:
        yield daemon


def registered(daemon: Daemon) -> dict[str, tuple[str, int, int]]:
    regions = daemon.call("SystemSharedMemoryStatus").regions
    return {name: (entry.key, entry.offset, entry.byte_size) for name, entry in regions.items()}


def register(daemon: Daemon, name: str, key: str, size: int, offset: int = 0) -> None:
    daemon.call("SystemSharedMemoryRegister", name=name, key=key, offset=offset, byte_size=size)


def register_refused(daemon: Daemon, name: str, key: str, size: int, offset: int = 0) -> tuple[str, str]:
    return daemon.refusal("SystemSharedMemoryRegister", name=name, key=key, offset=offset, byte_size=size)


@pytest.mark.parametrize("slashes", ["", "/", "//"])
def test_a_key_is_a_file_name_with_or_without_slashes_before_it(daemon: Daemon, slashes: str) -> None:
    with region_file("a", bytes(64)) as file:
        register(daemon, "a", slashes + file.name, 64)

        assert registered(daemon) == {"a": (slashes + file.name, 0, 64)}
        daemon.call("SystemSharedMemoryUnregister", name="a")
    assert registered(daemon) == {}


def test_a_registered_name_is_taken(daemon: Daemon) -> None:
    with region(daemon, "a", bytes(64)) as file, region_file("b", bytes(64)) as other:
        for key, size in ((file.name, 64), (file.name, 32), (other.name, 64)):
            refusal = register_refused(daemon, "a", key, size)
            assert refusal == ("ALREADY_EXISTS", "shared memory region 'a' already in manager")

        assert registered(daemon) == {"a": (file.name, 0, 64)}


def test_a_registered_key_is_taken(daemon: Daemon) -> None:
    with region(daemon, "a", bytes(64)) as file:
        refusal = register_refused(daemon, "b", file.name, 64)

        assert refusal == ("INTERNAL", f"Invalid shared memory region: '{file.name}'")


@pytest.mark.parametrize(
    ("size", "offset", "fault"),
    [
        (65, 0, "invalid args"),
        (64, 1, "invalid args"),
        (1, 64, "invalid args"),
        (2**63, 0, "invalid args"),
        (0, 0, "unable to process address spaceInvalid argument"),
        (16, 8, "unable to process address spaceInvalid argument"),
    ],
)
def test_a_region_lies_within_its_file_from_a_page_on(daemon: Daemon, size: int, offset: int, fault: str) -> None:
    with region_file("a", bytes(64)) as file:
        refusal = register_refused(daemon, "a", file.name, size, offset)

    assert refusal == ("INVALID_ARGUMENT", f"failed to register shared memory region 'a': {fault}")
    assert registered(daemon) == {}


def test_unknown_regions_can_be_unregistered_and_have_no_status(daemon: Daemon) -> None:
    daemon.call("SystemSharedMemoryUnregister", name="absent")

    assert daemon.refusal("SystemSharedMemoryStatus", name="absent") == (
        "NOT_FOUND",
        "Unable to find system shared memory region: 'absent'",
    )


def test_an_empty_name_unregisters_all(daemon: Daemon) -> None:
    with region(daemon, "a", bytes(64)), region(daemon, "b", bytes(64)):
        daemon.call("SystemSharedMemoryUnregister")

        assert registered(daemon) == {}


def test_an_input_is_read_from_a_region_at_any_byte(daemon: Daemon) -> None:
    with region(daemon, "in", b"abc" + X4):
        answer = daemon.infer(request(x(data=None, **placed("in", 16, 3))))

    assert answer.raw_output_contents == [X4]


def test_an_output_is_written_to_a_region_and_nothing_else_is(daemon: Daemon) -> None:
    with region(daemon, "in", X4), region(daemon, "out", b"." * 64) as out:
        answer = daemon.infer(request(x(data=None, **placed("in", 16)), outputs=[y(**placed("out", 40, 8))]))

        assert out.read_bytes() == b"." * 8 + X4 + b"." * 40
    assert list(answer.raw_output_contents) == [b""]
    assert [(output.datatype, list(output.shape)) for output in answer.outputs] == [("FP32", [1, 4])]
    assert not answer.outputs[0].parameters


def test_offsets_count_from_the_start_of_the_region(daemon: Daemon) -> None:
    with region(daemon, "in", bytes(PAGE + 4) + X4 + bytes(8), PAGE):
        answer = daemon.infer(request(x(data=None, **placed("in", 16, 4))))

    assert answer.raw_output_contents == [X4]


def test_regions_and_inline_tensors_can_be_mixed(daemon: Daemon) -> None:
    a, b = tensor("a", (1, 2), None, **placed("in", 8)), tensor("b", (1, 1), b"\1\0\0\0", "INT32")
    outputs = [y("p", **placed("out", 8)), y("q")]
    with region(daemon, "in", X4), region(daemon, "out", bytes(8)) as out:
        answer = daemon.infer(request(a, b, model="two", outputs=outputs))

        assert out.read_bytes() == X4[:8]
    assert list(answer.raw_output_contents) == [b"", b"\1\0\0\0"]


def test_the_region_wins_over_raw_contents(daemon: Daemon) -> None:
    with region(daemon, "in", X4):
        answer = daemon.infer(request(x(data=bytes(16), **placed("in", 16))))

    assert answer.raw_output_contents == [X4]


def test_one_region_can_hold_input_and_output(daemon: Daemon) -> None:
    with region(daemon, "both", X4) as file:
        daemon.infer(request(x(data=None, **placed("both", 16)), outputs=[y(**placed("both", 16))]))

        assert file.read_bytes() == X4


def test_strings_can_lie_in_regions(daemon: Daemon) -> None:
    data = b"\1\0\0\0a\0\0\0\0"
    with region(daemon, "in", data), region(daemon, "out", b"." * 16) as out:
        strings = tensor("x", (1, 2), None, "BYTES", **placed("in", len(data)))
        daemon.infer(request(strings, model="str", outputs=[y(**placed("out", 16))]))

        assert out.read_bytes() == data + b"." * 7


def test_what_is_written_before_the_model_runs_is_seen(daemon: Daemon) -> None:
    with region_file("first", bytes(16)) as first, region_file("second", bytes(16)) as second:
        running_one = slow_request(daemon, first, delay_ms=2000)
        queued = slow_request(daemon, second, delay_ms=0)

        with second.open("r+b") as opened:
            opened.write(X4)

        assert queued.result().raw_output_contents == [X4]
        assert running_one.result().raw_output_contents == [bytes(16)]
        daemon.call("SystemSharedMemoryUnregister")


NOT_FOUND = "Unable to find shared memory region: '{}'"
MISMATCH = "[request id: <id_unknown>] input byte size mismatch for input 'x' for model 'identity'. Expected 16, got {}"
BEYOND = "Invalid offset + byte size for shared memory region: '{}'"
OFFSET = "Invalid offset for shared memory region: '{}'"
WRONG_TYPE = "invalid value type for '{}' parameter for tensor 'x', expected {}."


@pytest.mark.parametrize(
    ("place", "code", "message"),
    [
        (placed("absent", 16), "NOT_FOUND", NOT_FOUND.format("absent")),
        (placed("", 16), "NOT_FOUND", NOT_FOUND.format("")),
        (placed(3, 16), "INVALID_ARGUMENT", WRONG_TYPE.format("shared_memory_region", "string_param")),
        (placed("in", "16"), "INVALID_ARGUMENT", WRONG_TYPE.format("shared_memory_byte_size", "int64_param")),
        (placed("in", 16, "0"), "INVALID_ARGUMENT", WRONG_TYPE.format("shared_memory_offset", "int64_param")),
        (placed("in", 12), "INVALID_ARGUMENT", MISMATCH.format(12)),
        (placed("in", 20), "INVALID_ARGUMENT", MISMATCH.format(20)),
        (placed("in", 0), "INVALID_ARGUMENT", BEYOND.format("in")),
        (placed("in", -16), "INVALID_ARGUMENT", BEYOND.format("in")),
        (placed("in", 16, 56), "INVALID_ARGUMENT", BEYOND.format("in")),
        (placed("in", 16, 64), "INVALID_ARGUMENT", OFFSET.format("in")),
        (placed("in", 16, -16), "INVALID_ARGUMENT", OFFSET.format("in")),
        (placed("in", 16, 2**63 - 1), "INVALID_ARGUMENT", OFFSET.format("in")),
        (
            {"shared_memory_region": "in"},
            "INVALID_ARGUMENT",
            "'shared_memory_byte_size' must be specified along with 'shared_memory_region' parameter for tensor 'x'",
        ),
        *(
            (
                {key: 16},
                "INVALID_ARGUMENT",
                f"'{key}' can not be specified without 'shared_memory_region' parameter for tensor 'x'",
            )
            for key in ("shared_memory_byte_size", "shared_memory_offset")
        ),
    ],
)
def test_an_input_that_is_in_no_region_is_refused(
    daemon: Daemon, place: dict[str, object], code: str, message: str
) -> None:
    with region(daemon, "in", bytes(64)):
        assert daemon.infer_refused(request(x(data=None, **place))) == (code, message)


@pytest.mark.parametrize(
    ("place", "code", "message"),
    [
        (placed("absent", 16), "NOT_FOUND", NOT_FOUND.format("absent")),
        (placed("out", 0), "INVALID_ARGUMENT", BEYOND.format("out")),
        (placed("out", 64, 1), "INVALID_ARGUMENT", BEYOND.format("out")),
        (placed("out", 16, 2**63 - 1), "INVALID_ARGUMENT", OFFSET.format("out")),
        (
            placed("out", 12),
            "INTERNAL",
            "shared memory size specified with the request for output 'y' (12 bytes) should be at least 16 bytes to"
            " hold the results",
        ),
        (
            placed("out", 64) | {"classification": 1},
            "INVALID_ARGUMENT",
            "output can't set both 'shared_memory_region' and 'classification'",
        ),
    ],
)
def test_an_output_that_fits_in_no_region_is_refused_and_nothing_is_written(
    daemon: Daemon, place: dict[str, object], code: str, message: str
) -> None:
    with region(daemon, "out", bytes(64)) as out:
        assert daemon.infer_refused(request(x(), outputs=[y(**place)])) == (code, message)

        assert out.read_bytes() == bytes(64)


def test_a_region_in_use_stays(daemon: Daemon) -> None:
    with region_file("in", X4) as file, region(daemon, "free", X4):
        slow = slow_request(daemon, file, delay_ms=2000)

        assert daemon.refusal("SystemSharedMemoryUnregister", name=file.name) == (
            "INTERNAL",
            f"Cannot unregister shared memory region '{file.name}', it is currently in use.",
        )
        assert daemon.refusal("SystemSharedMemoryUnregister") == (
            "INTERNAL",
            f"Failed to unregister the following system shared memory regions: {file.name} ,",
        )
        assert list(registered(daemon)) == [file.name]
        assert slow.result().raw_output_contents == [X4]
        daemon.call("SystemSharedMemoryUnregister", name=file.name)
        assert registered(daemon) == {}


def test_a_deleted_file_serves_until_it_is_unregistered(daemon: Daemon) -> None:
    with region(daemon, "in", X4) as file:
        file.unlink()
        file.write_bytes(bytes(16))

        assert daemon.infer(request(x(data=None, **placed("in", 16)))).raw_output_contents == [X4]


def test_a_grown_file_does_not_grow_its_region(daemon: Daemon) -> None:
    with region(daemon, "in", X4) as file:
        file.write_bytes(X4 * 2)

        refusal = daemon.infer_refused(request(x([1, 8], None, **placed("in", 32))))

    assert refusal == ("INVALID_ARGUMENT", BEYOND.format("in"))


@pytest.fixture
def lease(daemon: Daemon) -> Iterator[str]:
    stream = accel_pb2_grpc.NodeStub(daemon.channel).Lease(accel_pb2.LeaseRequest(client="a test"))
    yield next(stream).lease
    stream.cancel()


def test_a_client_may_hold_so_many_bytes(daemon: Daemon, lease: str) -> None:
    held = {"metadata": [("spark-accel-lease", lease)]}
    with region_file("a", bytes(40 * 1024)) as a, region_file("b", bytes(40 * 1024)) as b:
        messages = [pb.SystemSharedMemoryRegisterRequest(name=f.name, key=f.name, byte_size=40 * 1024) for f in (a, b)]
        daemon.send("SystemSharedMemoryRegister", messages[0], **held)

        code, message = daemon.refused("SystemSharedMemoryRegister", messages[1], **held)

        daemon.send("SystemSharedMemoryRegister", messages[1])  # the limit is each client's own
        daemon.call("SystemSharedMemoryUnregister")
    assert code == "RESOURCE_EXHAUSTED"
    assert "40960 of 65536 bytes are in use (setting spark.accel.memory.limit)" in message


def test_the_regions_of_a_lease_end_with_it(daemon: Daemon) -> None:
    stream = accel_pb2_grpc.NodeStub(daemon.channel).Lease(accel_pb2.LeaseRequest(client="a test"))
    metadata = [("spark-accel-lease", next(stream).lease)]
    with region(daemon, "free", bytes(64)), region_file("leased", X4) as file:
        slow = slow_request(daemon, file, delay_ms=300, metadata=metadata)

        stream.cancel()

        eventually(lambda: list(registered(daemon)) == ["free"])
        assert slow.result().raw_output_contents == [X4]  # what ran on goes on


def test_a_lease_that_is_not_held_is_to_be_renewed(daemon: Daemon) -> None:
    metadata = [("spark-accel-lease", "old")]
    expected = ("UNAVAILABLE", "lease 'old' is not held; take a new one")

    assert daemon.refused("ModelInfer", request(x()), metadata=metadata) == expected
    message = pb.SystemSharedMemoryRegisterRequest(name="a", key="a", byte_size=1)
    assert daemon.refused("SystemSharedMemoryRegister", message, metadata=metadata) == expected


def test_regions_leave_descriptors_for_sockets(tmp_path: Path) -> None:
    for index in range(40):
        (tmp_path / str(index)).write_bytes(b"x")
    most, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        regions = Regions(tmp_path, 1 << 20, in_use=lambda _: False, closed=lambda _: None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))

    for index in range(32):
        regions.register(str(index), str(index), 0, 1)
    with pytest.raises(RequestError, match="32 shared memory regions are registered"):
        regions.register("32", "32", 0, 1)
    regions.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_place_gives_its_own_bytes_or_a_refusal(daemon: Daemon, data: st.DataObject) -> None:
    content = np.arange(PAGE, dtype=np.uint16).tobytes()  # two pages of different words
    edge = st.one_of(st.integers(0, 80), st.integers(PAGE - 40, PAGE + 40), st.integers(-(2**63), 2**63 - 1))
    offset, size, columns = data.draw(edge), data.draw(edge), data.draw(st.integers(0, 40))
    with region(daemon, "in", content, PAGE):
        wanted = request(x([1, columns], None, **placed("in", size, offset)))
        fits = 0 <= offset < PAGE and 0 < size <= PAGE - offset and size == 4 * columns

        if fits:
            start = PAGE + offset
            assert daemon.infer(wanted).raw_output_contents == [content[start : start + size]]
        else:
            assert daemon.infer_refused(wanted)[0] == "INVALID_ARGUMENT"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.integers(0, 2**64 - 1) | st.integers(0, 3), size=st.integers(0, 2**64 - 1) | st.integers(0, 3 * PAGE))
def test_any_extent_is_registered_or_refused(daemon: Daemon, offset: int, size: int) -> None:
    offset = offset * PAGE if offset <= 3 else offset
    fits = size > 0 and offset % PAGE == 0 and offset + size <= 2 * PAGE
    with region_file("a", bytes(2 * PAGE)) as file:
        if fits:
            register(daemon, "a", file.name, size, offset)
            daemon.call("SystemSharedMemoryUnregister", name="a")
        else:
            assert register_refused(daemon, "a", file.name, size, offset)[0] == "INVALID_ARGUMENT"
