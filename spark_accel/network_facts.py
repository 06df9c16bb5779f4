"""What a client knows of a loaded network, from its configuration and labels."""

from dataclasses import dataclass

from spark_accel.connection import Connection
from spark_accel.daemon import network_config
from spark_accel.errors import ModelError


@dataclass(frozen=True)
class NetworkFacts:
    """What a caller needs to know of a loaded network. Images are uint8 RGB [height, width, 3]."""

    name: str
    version: int
    height: int
    width: int
    max_batch: int
    classes: int
    resize: int  # the shorter side, in pixels, before the crop to height x width
    ids: tuple[str, ...]  # one a class, as `labels`
    labels: tuple[str, ...]


def of_model(connection: Connection, name: str) -> NetworkFacts:
    """What the daemon says of a network, which it loads if it has not; raises ModelError."""
    connection.load(name)
    config = connection.config(name)
    tensors = {tensor.name: tensor.dims for tensor in (*config.input, *config.output)}
    if config.backend != "network" or len(tensors.get("image", ())) != 3:
        raise ModelError(f"model '{name}' is no network: its backend is '{config.backend}'")
    height, width, _ = tensors["image"]
    (classes,) = tensors["logits"]
    resize = config.parameters["resize"].string_value if "resize" in config.parameters else ""
    found = connection.labels(name)
    named = len(found.ids) == classes
    return NetworkFacts(
        name=name,
        version=connection.version(name),
        height=height,
        width=width,
        max_batch=max(1, config.max_batch_size),
        classes=classes,
        resize=network_config.resize(resize, max(height, width)),
        ids=tuple(found.ids) if named else tuple(map(str, range(classes))),
        labels=tuple(found.labels) if named else ("",) * classes,
    )
