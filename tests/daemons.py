"""A real daemon for tests: its own socket, repository and process, on the numpy device, spoken to over gRPC."""
# ruff: noqa: ANN401 - fields of protocol messages have all kinds of types

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from conftest import eventually
from google.protobuf.message import Message
from infer_requests import X4, placed, request, x
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from spark_accel import endpoint

COMMAND = (sys.executable, "-m", "spark_accel", "daemon")
MEMORY = Path("/dev/shm")
PREFIX = f"spark-accel-test-{os.getpid()}-"

# The models of identity backends that the tests use: input i is answered as output i.
MODELS = {
    "identity": """
        backend: "identity" max_batch_size: 64 dynamic_batching {}
        input { name: "x" data_type: TYPE_FP32 dims: -1 }
        output { name: "y" data_type: TYPE_FP32 dims: -1 }""",
    "slow": """
        backend: "identity" max_batch_size: 8
        input { name: "x" data_type: TYPE_FP32 dims: -1 }
        output { name: "y" data_type: TYPE_FP32 dims: -1 }""",
    "fixed": """
        backend: "identity" max_batch_size: 8
        input { name: "x" data_type: TYPE_FP32 dims: 4 }
        output { name: "y" data_type: TYPE_FP32 dims: 4 label_filename: "labels.txt" }""",
    "two": """
        backend: "identity" max_batch_size: 8
        input [ { name: "a" data_type: TYPE_FP32 dims: 2 }, { name: "b" data_type: TYPE_INT32 dims: -1 },
                { name: "o" data_type: TYPE_FP32 dims: -1 optional: true } ]
        output [ { name: "p" data_type: TYPE_FP32 dims: 2 }, { name: "q" data_type: TYPE_INT32 dims: -1 },
                 { name: "r" data_type: TYPE_FP32 dims: -1 } ]""",
    "str": """
        backend: "identity" max_batch_size: 8
        input { name: "x" data_type: TYPE_STRING dims: -1 }
        output { name: "y" data_type: TYPE_STRING dims: -1 }""",
    "flat": """
        backend: "identity"
        input { name: "x" data_type: TYPE_FP32 dims: [-1, 2] }
        output { name: "y" data_type: TYPE_FP32 dims: [-1, 2] }""",
}


def write_model(repository: Path, name: str, config: str | None = None, versions: tuple[int, ...] = (1,)) -> Path:
    """Makes a model's folder, with the configuration of MODELS for None, and gives it."""
    folder = repository / name
    for version in versions:
        (folder / str(version)).mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(MODELS[name] if config is None else config)
    (folder / "labels.txt").write_text("cat\ndog\nfish\n")
    return folder


@dataclass
class Daemon:
    """A running daemon. `call` and `refusal` make one gRPC call each."""

    socket: Path
    repository: Path
    process: subprocess.Popen[bytes]
    channel: grpc.Channel

    def __post_init__(self) -> None:
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)

    @property
    def url(self) -> str:
        return f"unix:{self.socket}"

    def send(self, rpc: str, message: Message, **options: Any) -> Any:
        """The answer to a call; raises grpc.RpcError."""
        return getattr(self.stub, rpc)(message, timeout=120, **options)

    def call(self, rpc: str, **fields: Any) -> Any:
        """The answer to a call whose request has these fields; raises grpc.RpcError."""
        return self.send(rpc, getattr(pb, rpc + "Request")(**fields))

    def refusal(self, rpc: str, **fields: Any) -> tuple[str, str]:
        """The status, as name and message, of a call that must fail."""
        return self.refused(rpc, getattr(pb, rpc + "Request")(**fields))

    def refused(self, rpc: str, message: Message, **options: Any) -> tuple[str, str]:
        """The status, as name and message, of a call that must fail."""
        try:
            answer = self.send(rpc, message, **options)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        raise AssertionError(f"{rpc} was answered: {answer}")

    def infer(self, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        return self.send("ModelInfer", request)

    def infer_refused(self, request: pb.ModelInferRequest) -> tuple[str, str]:
        return self.refused("ModelInfer", request)

    def load(self, *names: str) -> None:
        for name in names:
            self.call("RepositoryModelLoad", model_name=name)

    def states(self, name: str) -> dict[str, str]:
        """The states of a model's versions, by version."""
        models = self.call("RepositoryIndex").models
        return {model.version: model.state for model in models if model.name == name}

    def alive(self) -> bool:
        return self.process.poll() is None and self.call("ServerLive").live


@contextlib.contextmanager
def running(
    folder: Path, models: tuple[str, ...] = (), device: str = "reference", **environment: str
) -> Iterator[Daemon]:
    """A daemon whose repository lies in `folder` and holds `models`, loaded. Ended by SIGTERM."""
    repository = folder / "repository"
    repository.mkdir(exist_ok=True)
    for name in models:
        write_model(repository, name)
    # Not in `folder`: a socket's path is short. The daemon asks for a folder of mode 0700.
    with tempfile.TemporaryDirectory(prefix="accel-") as sockets:
        socket = Path(sockets) / "daemon.sock"
        arguments = ["--socket", str(socket), "--repository", str(repository), "--device", device]
        with (folder / "daemon.log").open("wb") as log:
            process = subprocess.Popen(
                [*COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | environment
            )
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        try:
            # A channel that finds no socket would wait longer and longer before it tries again.
            eventually(lambda: _answers(socket, process, folder / "daemon.log"), 60, "the daemon answers")
            with grpc.insecure_channel(f"unix:{socket}", options=options) as channel:
                daemon = Daemon(socket, repository, process, channel)
                daemon.load(*models)
                yield daemon
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _answers(socket: Path, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, f"the daemon ended: {log.read_text()}"
    return endpoint.answers(socket)


def goes_on(daemon: Daemon) -> None:
    """What holds after any attack, where the model `identity` is loaded."""
    assert daemon.alive()
    assert daemon.call("ServerReady").ready
    assert daemon.infer(request(x())).raw_output_contents == [X4]


@contextlib.contextmanager
def region_file(name: str, data: bytes) -> Iterator[Path]:
    """A file in the folder of regions, gone afterwards; its key is its name."""
    path = MEMORY / (PREFIX + name)
    path.write_bytes(data)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def region(daemon: Daemon, name: str, data: bytes, offset: int = 0) -> Iterator[Path]:
    """A registered region `name` of a new file that holds `data`, from `offset` on; gives the file."""
    with region_file(name, data) as path:
        daemon.call("SystemSharedMemoryRegister", name=name, key=path.name, offset=offset, byte_size=len(data) - offset)
        try:
            yield path
        finally:
            daemon.call("SystemSharedMemoryUnregister", name=name)


def arrived(
    daemon: Daemon,
    file: Path,
    send: Callable[[], Any],
    ended: Callable[[Any], object] = lambda call: call.exception(30),
    **options: Any,
) -> Any:
    """The call that `send` makes, as soon as the daemon has its request; that uses a region named as `file`.

    Registers `file`, with `options` of the call. Nothing tells when a request has arrived but that its region can't be
    unregistered. Where it can, the request came too late: it is refused (`ended` waits for that) and sent again.
    """
    message = pb.SystemSharedMemoryRegisterRequest(name=file.name, key=file.name, byte_size=file.stat().st_size)
    calls: list[Any] = []

    def sent_and_arrived() -> bool:
        daemon.send("SystemSharedMemoryRegister", message, **options)
        calls.append(send())
        if unregistered(daemon, file.name):
            ended(calls.pop())
        return bool(calls)

    eventually(sent_and_arrived, what=f"a request uses region {file.name}")
    return calls[0]


def slow_request(daemon: Daemon, file: Path, delay_ms: int, model: str = "slow", **options: Any) -> Any:
    """The future of a request that the daemon has; it takes so long and answers the 16 bytes in `file`."""
    tensor = x(data=None, **placed(file.name, 16))
    return arrived(
        daemon,
        file,
        lambda: daemon.stub.ModelInfer.future(request(tensor, model=model, delay_ms=delay_ms)),
        **options,
    )


def unregistered(daemon: Daemon, name: str) -> bool:
    """Unregisters a region, unless it is in use."""
    try:
        daemon.call("SystemSharedMemoryUnregister", name=name)
    except grpc.RpcError:
        return False
    return True
