"""What all tests share: real data from outside the project, waiting for a condition, the check that nothing is left."""

import fcntl
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import onnx
import psutil
import pytest
from hypothesis import settings

pytest_plugins = ["emulator", "spark_sessions"]
# A JVM of the tests lives for half a minute, in which C2 takes more time than what it compiles saves: with C1 alone,
# and one thread to collect garbage, they take a fifth less of the processors' time.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
_MARKER = "TESTS_OF_SPARK_ACCEL"
_FILES: "pytest.StashKey[set[str]]" = pytest.StashKey()
SHARED = Path(__file__).resolve().parents[2] / "shared"


# Examples compile kernels and talk to daemons: how long one takes says nothing.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


def eventually(condition: Callable[[], object], limit: float = 20.0, what: str = "") -> None:
    """Waits until `condition()` is true, at most `limit` seconds; then fails, saying what was waited for."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"not within {limit} s: {what or condition}"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def shared_resnet50() -> Path:
    """The folder with real ResNet50 weights and photographs, which the project may not carry."""
    folder = SHARED / "resnet50"
    if not folder.is_dir():
        pytest.skip("no real ResNet50 weights and photographs beside the checkout (../shared/resnet50)")
    return folder


@pytest.fixture(scope="session")
def resnet50_onnx(shared_resnet50: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real ResNet50 v1.5 as a float32 ONNX file."""
    builder = _module(shared_resnet50 / "build_onnx.py")
    path = tmp_path_factory.mktemp("onnx") / "resnet50.onnx"
    onnx.save(builder.build(builder.load_weights(shared_resnet50 / "weights" / "resnet50_v1.5_codes.npz")), path)
    return path


@pytest.fixture(scope="session")
def resnet50_model(shared_resnet50: Path, resnet50_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The version folder of the real ResNet50, quantised once on 64 of the photographs: REPO/resnet50/1."""
    from spark_accel.networks import importer

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # all processes of this run have it
    version = folder / "resnet50" / "resnet50" / "1"
    with (folder / "resnet50.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not version.is_dir():
            importer.import_model(
                resnet50_onnx,
                "resnet50",
                folder / "resnet50",
                calibration=shared_resnet50 / "images",
                labels=shared_resnet50 / "imagenet_class_index.json",
            )
    return version


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session", autouse=True)
def _no_process_left_behind() -> Iterator[None]:
    os.environ[_MARKER] = str(os.getpid())
    yield
    from spark_accel import client

    for one in client._clients.values():  # as at the end of the process: it keeps regions for its next task
        one.close()
    eventually(lambda: not _daemons(), 90, f"all daemons and workers of the tests end: {_daemons()}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start Spark come first: they are the slow ones, and the processes are to end together."""
    slow = {item.path for item in items if item.get_closest_marker("spark")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[_FILES] = _region_files()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Nor is a file left, of all processes that run tests: the first one looks, at the end.

    Who lives holds a lock on its files: those are other people's, since no process of the tests is left.
    """
    left = {name for name in _region_files() - session.config.stash[_FILES] if not _locked(Path("/dev/shm", name))}
    if left and not hasattr(session.config, "workerinput"):
        sys.stderr.write(f"\nshared-memory files are left behind: {', '.join(sorted(left))}\n")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _region_files() -> set[str]:
    return {entry.name for entry in os.scandir("/dev/shm") if entry.name.startswith("spark-accel-")}


def _locked(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):  # or just deleted
        return True
    return False


def _daemons() -> list[str]:
    """Command lines of daemons and workers that descend from the tests: those have the tests' own marker."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or ())
        if "spark_accel" not in command or process.pid == os.getpid():
            continue
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        if environment.get(_MARKER) == str(os.getpid()):
            found.append(f"{process.pid} {command}")
    return found
