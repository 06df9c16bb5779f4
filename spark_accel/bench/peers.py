"""What users would take instead of us: a table, and which of it is installed."""

from dataclasses import dataclass
from importlib.util import find_spec

from spark_accel.errors import ConfigurationError

OURS = "spark-accel"


@dataclass(frozen=True)
class Peer:
    """`modules` are what it needs to import. `install` says how to get them."""

    name: str
    title: str
    modules: tuple[str, ...]
    install: str = "pip install 'spark-accel[bench]'"

    def missing(self) -> str:
        """Why it can't take part, with the remedy; empty where it can."""
        absent = [module for module in self.modules if find_spec(module) is None]
        return f"{', '.join(absent)} not installed: {self.install}" if absent else ""


PEERS = (
    Peer("openvino", "OpenVINO int8 (NNCF)", ("openvino", "nncf")),
    Peer("onnxruntime", "ONNX Runtime int8 (static QDQ)", ("onnxruntime",)),
    Peer("tensorflow", "TensorFlow float32 (Keras)", ("tensorflow",)),
    Peer("scikit-learn", "scikit-learn", ("sklearn",)),
    Peer("mllib", "stock Spark MLlib", ("pyspark",)),
    Peer("triton", "Triton, Python backend", ()),
)
_BY_NAME = {peer.name: peer for peer in PEERS}


def peer(name: str) -> Peer:
    """The peer of that name."""
    return _BY_NAME[name]


def chosen(text: str | None) -> tuple[str, ...]:
    """The names in `--peers`, `openvino,onnxruntime` for one; all without it, `none` for none.

    Raises ConfigurationError, listing the names, for another one.
    """
    if text is None:
        return tuple(_BY_NAME)
    if text == "none":
        return ()
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in _BY_NAME:
            raise ConfigurationError(f"--peers: '{name}' is unknown; known are {', '.join(_BY_NAME)} and none")
    return names
