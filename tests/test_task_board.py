"""The board that Spark's resource scheduling gave a task, with a daemon that drives it and with one that does not."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from kernel_models import TWICE, write_kernel
from nodes import devices, node, write_network
from pyspark import TaskContext
from pyspark.resource import ResourceInformation
from spark_sessions import PHOTOGRAPHS

from spark_accel import model_store, partition, task_board
from spark_accel.client import Client, shared
from spark_accel.errors import AccelError
from spark_accel.own_kernels import rows
from spark_accel.settings import Settings, override

TEXT = (
    "Spark gave a task the board 'fpga-emulator-1', which the node's daemon does not drive; it drives reference. Set"
    " spark.accel.device=fpga, and end a daemon that was started otherwise (`spark-accel stop`)"
)
WARNING = f"{TEXT}. Until then such tasks run on what it drives"


def spark_conf(settings: Settings) -> dict[str, str]:
    given = {"daemon.socket": settings.daemon_socket, "repository": settings.repository, "device": settings.device}
    return {f"spark.accel.{key}": str(value) for key, value in given.items()}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with node(tmp_path_factory.mktemp("node")) as settings:
        write_network(settings.repository)
        yield settings
        shared(settings).close()


@pytest.fixture
def client(settings: Settings) -> Client:
    return shared(settings)


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes this process that of a task with a board, as PySpark's worker does."""

    def given(address: str) -> None:
        context = object.__new__(TaskContext)
        context._partitionId, context._cpus = 0, 1
        context._resources = {"fpga": ResourceInformation("fpga", [address])}
        monkeypatch.setattr(TaskContext, "_taskContext", context)

    return given


@pytest.fixture(autouse=True)
def _not_warned() -> Iterator[None]:
    yield
    if task_board._warned.locked():
        task_board._warned.release()


def test_one_that_the_daemon_does_not_drive_is_left_with_one_warning_a_process(
    settings: Settings, client: Client, give: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    give("fpga-emulator-1")

    assert [task_board.assigned(client, settings) for _ in range(2)] == ["", ""]
    assert caplog.messages == [WARNING]


def test_with_fallback_error_it_is_an_error(settings: Settings, client: Client, give: Callable[[str], None]) -> None:
    give("fpga-emulator-1")

    with pytest.raises(AccelError) as raised:
        task_board.assigned(client, override(settings, fallback="error"))

    assert str(raised.value) == f"{TEXT}, or allow spark.accel.fallback=cpu"


@pytest.mark.parametrize("address", ["0", "fpga", "cpu-0"])
def test_addresses_of_another_discovery_script_mean_nothing(
    settings: Settings,
    client: Client,
    give: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
    address: str,
) -> None:
    give(address)

    assert task_board.assigned(client, settings) == ""
    assert caplog.messages == []


def test_images_of_such_a_task_are_classified_on_what_the_daemon_drives(
    settings: Settings, give: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    give("fpga-emulator-1")
    photograph = pa.array([(PHOTOGRAPHS / "cat.jpg").read_bytes()])

    (answer,) = partition.classify(iter([photograph]), spark_conf(settings), "tiny", 1, strict=True)

    assert len(answer[0]) == 1
    assert caplog.messages == [WARNING]


def test_rows_of_a_kernel_run_on_the_board_that_spark_gave_the_task(
    tmp_path: Path, emulator: ProcessPoolExecutor, give: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert emulator
    monkeypatch.setenv("CL_CONFIG_CPU_EMULATE_DEVICES", "2")
    give("fpga-emulator-1")
    with node(tmp_path, device="fpga") as settings:
        write_kernel(settings.repository, "twice", TWICE)
        plan = rows.plan(model_store.kernel(settings.repository, "twice"), 1, None, {})
        cells = pa.StructArray.from_arrays([pa.array([1, 2], pa.float32())], names=["x"])

        answers = [answer.to_pylist() for answer in plan.answer(iter([cells, cells]), spark_conf(settings))]
        executions = {device.id: device.executions for device in devices(settings)}
        shared(settings).close()

    assert answers == [[2, 4], [2, 4]]
    assert executions == {"fpga-emulator-0": 0, "fpga-emulator-1": 2}
