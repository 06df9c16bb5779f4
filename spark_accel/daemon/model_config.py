"""A model's configuration (`config.pbtxt`, Triton's ModelConfig): parsed, checked, defaults filled in.

`LoadedModel` is what the repository hands to the scheduler. Where model folders are and which versions serve is
`repository.py`'s; what a configuration means for a computation is the backends'.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInput, ModelInstanceGroup, ModelOutput

from spark_accel.daemon import datatypes
from spark_accel.errors import ModelError
from spark_accel.networks import plan
from spark_accel.own_kernels import definition

FILE_NAME = "config.pbtxt"
_MAX_CONFIG_BYTES = 2**20
_MAX_LABEL_BYTES = 2**24
_MAX_PRIORITY_LEVELS = 1024  # each has a queue of its own
# Parts of Triton's schema that this daemon does not do. To ignore them would be to compute something else.
_UNSUPPORTED = (
    "ensemble_scheduling",
    "sequence_batching",
    "batch_input",
    "batch_output",
    "model_warmup",
    "model_operations",
    "model_repository_agents",
)


class ConfigError(Exception):
    """The text is no ModelConfig."""


class ModelLoadError(Exception):
    """A model can't be loaded. The text goes to the client and to the index: `Kind: what`, no internal path.

    Kinds are Triton's: `Invalid argument`, `Internal`, `Unavailable`, `Unsupported`.
    """


@dataclass(frozen=True)
class ExpectedInput:
    """An input as requests must give it: `dims` has the batch dimension, too; -1 is any number."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    optional: bool


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A version of a model that is loaded or about to be. `folder` is the version's; `config` has its defaults.

    Each load makes a new object, so that a reloaded version can be told from the one before it.
    """

    name: str
    version: int
    folder: Path
    config: ModelConfig
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by output: the lines of its label file
    instances: tuple[ModelInstanceGroup, ...] = ()  # as written, see placement.py: `config` has a default

    # What each request is held against is read from the configuration once.

    @cached_property
    def batches(self) -> bool:
        """Whether requests have a batch dimension before the dimensions of the configuration."""
        return bool(self.config.max_batch_size)

    @cached_property
    def inputs(self) -> Mapping[str, ExpectedInput]:
        """The inputs by name, in the configuration's order."""
        batch = (-1,) if self.batches else ()
        return {
            tensor.name: ExpectedInput(
                tensor.name, datatypes.of_config(tensor.data_type), (*batch, *tensor.dims), tensor.optional
            )
            for tensor in self.config.input
        }

    @cached_property
    def required(self) -> Sequence[str]:
        """The names of the inputs that no request may lack."""
        return [expected.name for expected in self.inputs.values() if not expected.optional]

    @cached_property
    def outputs(self) -> Mapping[str, str]:
        """The datatypes of the outputs by name."""
        return {tensor.name: datatypes.of_config(tensor.data_type) for tensor in self.config.output}

    @cached_property
    def time_limit(self) -> float | None:
        """The seconds that a batch may take, where the configuration says so: of a user's kernel."""
        return definition.of_config(self.config).time_limit if self.config.backend == definition.BACKEND else None


def read(folder: Path) -> ModelConfig:
    """The configuration in a model's folder; an empty one where there is no file. Raises ConfigError."""
    path = folder / FILE_NAME
    try:
        if not path.is_file():
            return ModelConfig()
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise ConfigError(f"{path} is larger than {_MAX_CONFIG_BYTES} bytes")
        return text_format.Parse(path.read_text(encoding="utf-8"), ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise ConfigError(f"{path}: {error}") from None


def from_json(text: str) -> ModelConfig:
    """The configuration that a load request brings. Raises ConfigError."""
    if len(text) > _MAX_CONFIG_BYTES:
        raise ConfigError(f"a configuration of {len(text)} characters")
    try:
        return json_format.Parse(text, ModelConfig())
    except (json_format.ParseError, RecursionError) as error:
        raise ConfigError(f"load parameter 'config': {error}") from None


def complete(config: ModelConfig, name: str, versions: Iterable[Path]) -> ModelConfig:
    """A copy of `config` with Triton's defaults, for a model of these version folders."""
    full = ModelConfig()
    full.CopyFrom(config)
    full.name = name
    if not full.backend and any((folder / plan.FILE_NAME).is_file() for folder in versions):
        full.backend = "network"
    if full.version_policy.WhichOneof("policy_choice") is None:
        full.version_policy.latest.num_versions = 1
    if not full.instance_group:
        full.instance_group.add(name=name, count=1, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)
    if full.HasField("dynamic_batching") and not full.dynamic_batching.preferred_batch_size:
        full.dynamic_batching.preferred_batch_size.append(max(1, full.max_batch_size))
    full.optimization.input_pinned_memory.enable = True
    full.optimization.output_pinned_memory.enable = True
    return full


def check(config: ModelConfig, folder: Path) -> None:
    """Raises ModelLoadError for a configuration that can't be served as it says."""
    for part in _UNSUPPORTED:
        if any(field.name == part for field, _ in config.ListFields()):
            raise ModelLoadError(f"Unsupported: '{part}' in the configuration of model '{config.name}'")
    if config.model_transaction_policy.decoupled or config.response_cache.enable:
        raise ModelLoadError(f"Unsupported: decoupled answers and response cache, asked for by model '{config.name}'")
    if config.max_batch_size < 0:
        raise _invalid(f"'max_batch_size' must be non-negative for model '{config.name}', got {config.max_batch_size}")
    if config.dynamic_batching.priority_levels > _MAX_PRIORITY_LEVELS:
        levels = config.dynamic_batching.priority_levels
        raise _invalid(
            f"'priority_levels' must be at most {_MAX_PRIORITY_LEVELS} for model '{config.name}', got {levels}"
        )
    _check_priorities(config)
    for kind, tensors in (("input", config.input), ("output", config.output)):
        for name, count in Counter(tensor.name for tensor in tensors).items():
            if count > 1 or not name:
                raise _invalid(f"{kind} '{name}' of model '{config.name}' is specified {count} times or has no name")
        for tensor in tensors:
            _check_tensor(tensor, kind, config.name)
    files = {tensor.label_filename for tensor in config.output} | set(config.cc_model_filenames.values())
    for file in sorted(files | {config.default_model_filename, config.runtime}):
        _inside(folder, file, config.name)
    if config.backend == definition.BACKEND:
        try:
            definition.of_config(config)
        except ModelError as error:
            raise _invalid(str(error)) from None


def labels(config: ModelConfig, folder: Path) -> dict[str, tuple[str, ...]]:
    """The lines of the label files, by output. Raises ModelLoadError for a file that can't be read."""
    return {
        output.name: _label_lines(_inside(folder, output.label_filename, config.name), output.label_filename)
        for output in config.output
        if output.label_filename
    }


def metadata(model: LoadedModel, versions: Iterable[int]) -> pb.ModelMetadataResponse:
    """The answer of ModelMetadata for a model of which these versions are ready."""
    batch = [-1] if model.batches else []
    tensor = pb.ModelMetadataResponse.TensorMetadata
    inputs, outputs = (
        [tensor(name=t.name, datatype=datatypes.of_config(t.data_type), shape=[*batch, *t.dims]) for t in tensors]
        for tensors in (model.config.input, model.config.output)
    )
    return pb.ModelMetadataResponse(
        name=model.name,
        versions=[str(version) for version in versions],
        platform=model.config.platform or model.config.backend,
        inputs=inputs,
        outputs=outputs,
    )


def _check_priorities(config: ModelConfig) -> None:
    batching = config.dynamic_batching
    levels = batching.priority_levels
    if not levels:
        return
    if not 1 <= batching.default_priority_level <= levels:
        raise _invalid(
            f"default priority level must be in range [1, {levels}] for {config.name}, got"
            f" {batching.default_priority_level}"
        )
    for level in sorted(batching.priority_queue_policy):
        if not 1 <= level <= levels:
            raise _invalid(
                f"priority queue policy must have priority level in range [1, {levels}] for {config.name}, got {level}"
            )


def _check_tensor(tensor: ModelInput | ModelOutput, kind: str, model: str) -> None:
    where = f"{kind} '{tensor.name}' of model '{model}'"
    if tensor.data_type == model_config_pb2.TYPE_INVALID:
        raise _invalid(f"{where} has no data_type")
    if not tensor.dims or any(dim < 1 and dim != -1 for dim in tensor.dims):
        raise _invalid(f"{where} has dims {list(tensor.dims)}: expected at least one, each -1 or above 0")
    if tensor.HasField("reshape") or tensor.is_shape_tensor or getattr(tensor, "allow_ragged_batch", False):
        raise ModelLoadError(f"Unsupported: reshape, shape tensors and ragged batches, asked for by {where}")


def _inside(folder: Path, file: str, model: str) -> Path:
    """`folder / file`, for a file that is in the model's folder also when links are followed."""
    path = folder / file
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # a name too long, links in a circle, a NUL
        inside = False
    if not inside or PurePosixPath(file).is_absolute():
        raise _invalid(f"file '{file}' in the configuration of model '{model}' must stay within model directory.")
    return path


def _label_lines(path: Path, file: str) -> tuple[str, ...]:
    try:
        if not path.is_file() or path.stat().st_size > _MAX_LABEL_BYTES:
            raise _invalid(f"label file '{file}' is no file of at most {_MAX_LABEL_BYTES} bytes")
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        raise _invalid(f"label file '{file}' can't be read as UTF-8") from None


def _invalid(text: str) -> ModelLoadError:
    return ModelLoadError(f"Invalid argument: {text}")
