"""A model's configuration (`config.pbtxt`, Triton's ModelConfig): parsed, checked, defaults filled in.

`LoadedModel` is what the repository hands to the scheduler. Where model folders are and which versions serve is
`repository.py`'s; what a configuration means for a computation is the backends'.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tritonclient.grpc import model_config_pb2


class ModelLoadError(Exception):
    """A model can't be loaded. The text goes to the client and to the index: `Kind: what`, no internal path.

    Kinds are Triton's: `Invalid argument`, `Internal`, `Unavailable`, `Unsupported`.
    """


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A version of a model that is loaded or about to be. `folder` is the version's; `config` has its defaults.

    Each load makes a new object, so that a reloaded version can be told from the one before it.
    """

    name: str
    version: int
    folder: Path
    config: model_config_pb2.ModelConfig
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by output; lines of its label file
