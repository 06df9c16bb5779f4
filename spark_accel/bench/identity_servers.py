"""Servers with a model, `identity` if nothing else, each in a folder of its own, started for a measurement and ended
after it.

Triton's server is that of PyPI's `nvidia-pytriton`, whose pins clash with ours: it has a Python environment of its own,
the folder of which stands in TRITON_ENV.
"""

import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from spark_accel.errors import ConfigurationError

TRITON_ENV = "TRITON_ENV"
_SECONDS = 60.0
_CONFIG = """
backend: "{backend}" max_batch_size: 64
input {{ name: "x" data_type: TYPE_FP32 dims: -1 }}
output {{ name: "y" data_type: TYPE_FP32 dims: -1 }}
"""
_IDENTITY = "identity"
_TRITON_IDENTITY = """
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        return [
            pb.InferenceResponse([pb.Tensor("y", pb.get_input_tensor_by_name(r, "x").as_numpy())]) for r in requests
        ]
"""


@contextmanager
def daemon(folder: Path) -> Iterator[str]:
    """Our daemon, whose worker runs numpy; gives its address."""
    repository, sockets = folder / "daemon-models", folder / "socket"
    _write_model(repository, _IDENTITY, "identity")
    sockets.mkdir(mode=0o700)
    url = f"unix:{sockets / 'd'}"
    arguments = ["--socket", str(sockets / "d"), "--repository", str(repository), "--device", "reference"]
    with _running(
        [sys.executable, "-m", "spark_accel", "daemon", *arguments], {}, folder / "daemon.log", url, _IDENTITY
    ):
        yield url


def triton_missing() -> str:
    """Why Triton's server can't be started, with the remedy; empty where it can."""
    if not os.environ.get(TRITON_ENV):
        return (
            f"{TRITON_ENV} is not set to an environment that has it: python -m venv E; E/bin/pip install"
            " nvidia-pytriton; export TRITON_ENV=E"
        )
    try:
        _installed(Path(os.environ[TRITON_ENV]))
    except ConfigurationError as error:
        return str(error)
    return ""


@contextmanager
def triton(folder: Path, model: str = _IDENTITY, code: str = _TRITON_IDENTITY) -> Iterator[str]:
    """Triton's server with its Python backend; gives its address. `code` is the model's, from x to y, FP32 vectors.

    Raises ConfigurationError where Triton is missing.
    """
    environment = Path(os.environ[TRITON_ENV])
    server = _installed(environment)
    repository, backends = folder / "triton-models", folder / "backends"
    (_write_model(repository, model, "python") / "model.py").write_text(code, encoding="utf-8")
    (backends / "python").mkdir(parents=True)
    for file in (server / "backends" / "python").iterdir():
        (backends / "python" / file.name).symlink_to(file)
    stub = backends / "python" / "triton_python_backend_stub"
    stub.unlink(missing_ok=True)
    stub.symlink_to(_stub(environment, server))
    libraries = _ask(environment, "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))")
    http, port, metrics = _free_ports(3)
    command = [
        str(server / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        *("--http-address=127.0.0.1", f"--http-port={http}"),
        *("--grpc-address=127.0.0.1", f"--grpc-port={port}"),
        f"--metrics-port={metrics}",
    ]
    variables = {"PATH": f"{environment / 'bin'}:{os.environ['PATH']}", "LD_LIBRARY_PATH": libraries, "PYTHONPATH": ""}
    url = f"127.0.0.1:{port}"
    with _running(command, variables, folder / "triton.log", url, model):
        yield url


def _installed(environment: Path) -> Path:
    found = list(environment.glob("lib/python3*/site-packages/pytriton/tritonserver"))
    if not found or not _stub(environment, found[0]).is_file():
        raise ConfigurationError(
            f"{TRITON_ENV} is {environment}: no nvidia-pytriton for its Python there; {environment}/bin/pip install"
            " nvidia-pytriton"
        )
    return found[0]


def _stub(environment: Path, server: Path) -> Path:
    """The part of the Python backend that is made for one version of Python."""
    version = environment.joinpath("pyvenv.cfg").read_text(encoding="utf-8") if environment.is_dir() else ""
    number = next((line.split("=")[1] for line in version.splitlines() if line.startswith("version")), "")
    short = ".".join((number.strip() or platform.python_version()).split(".")[:2])
    return server / "python_backend_stubs" / short / "triton_python_backend_stub"


def _ask(environment: Path, code: str) -> str:
    command = [str(environment / "bin" / "python"), "-c", code]
    return str(subprocess.run(command, capture_output=True, check=True, text=True).stdout).strip()


def _write_model(repository: Path, model: str, backend: str) -> Path:
    version = repository / model / "1"
    version.mkdir(parents=True)
    version.with_name("config.pbtxt").write_text(_CONFIG.format(backend=backend), encoding="utf-8")
    return version


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def _running(command: Sequence[str], variables: Mapping[str, str], log: Path, url: str, model: str) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **variables}
        )
    try:
        _load(process, url, log, model)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _load(process: "subprocess.Popen[bytes]", url: str, log: Path, model: str) -> None:
    end = time.monotonic() + _SECONDS
    with grpc.insecure_channel(url, options=[("grpc.max_reconnect_backoff_ms", 100)]) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        while process.poll() is None and time.monotonic() < end:
            try:
                if not stub.ModelReady(pb.ModelReadyRequest(name=model)).ready:
                    stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=model))
                return
            except grpc.RpcError:
                time.sleep(0.1)
    raise ConfigurationError(f"{process.args!r} did not serve: {log.read_text(errors='replace')[-2000:]}")
