"""What users would take instead of us: a table, and which of it is installed."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.util import find_spec

from spark_accel.errors import ConfigurationError

OURS = "spark-accel"


@dataclass(frozen=True)
class Peer:
    """`modules` are what it needs to import, `install` says how to get them. `absent` answers for what is no module."""

    name: str
    title: str
    modules: tuple[str, ...]
    install: str = "pip install 'spark-accel[bench]'"
    absent: Callable[[], str] = str

    def missing(self) -> str:
        """Why it can't take part, with the remedy; empty where it can."""
        modules = [module for module in self.modules if find_spec(module) is None]
        return f"{', '.join(modules)} not installed: {self.install}" if modules else self.absent()


def _triton_missing() -> str:
    from spark_accel.bench import identity_servers  # noqa: PLC0415 - loads gRPC

    return identity_servers.triton_missing()


PEERS = (
    Peer("openvino", "OpenVINO int8 (NNCF)", ("openvino", "nncf")),
    Peer("onnxruntime", "ONNX Runtime int8 (static QDQ)", ("onnxruntime",)),
    Peer("tensorflow", "TensorFlow float32 (Keras)", ("tensorflow",)),
    Peer("scikit-learn", "scikit-learn", ("sklearn",)),
    Peer("mllib", "stock Spark MLlib", ("pyspark",)),
    Peer("triton", "Triton, Python backend", ("tritonclient",), absent=_triton_missing),
)
_BY_NAME = {peer.name: peer for peer in PEERS}


def peer(name: str) -> Peer:
    """The peer of that name."""
    return _BY_NAME[name]


def chosen(text: str | None, known: Collection[str]) -> tuple[str, ...]:
    """The names in `--peers`, `openvino,onnxruntime` for one; all that are `known` without it, `none` for none.

    Raises ConfigurationError, listing the names, for another one, and for one that is asked for and not installed.
    """
    if text is None:
        return tuple(known)
    if text == "none":
        return ()
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in known:
            raise ConfigurationError(f"--peers: '{name}' has no part in this; known are {', '.join(known)} and none")
        if missing := peer(name).missing():
            raise ConfigurationError(f"--peers: '{name}' can't take part: {missing}")
    return names
