"""The models that are loaded or were: states, loading, unloading, and finding the one that a request asks for.

Texts and states are Triton's in explicit control mode. What lies on disk is `model_folder.py`'s, what a configuration
says `model_config.py`'s; the scheduler brings models to the workers.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

from grpc import StatusCode
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from spark_accel.daemon import builtin_models, model_config, model_folder
from spark_accel.daemon.model_config import ConfigError, LoadedModel, ModelLoadError
from spark_accel.daemon.model_folder import ModelFolder, PollError
from spark_accel.daemon.request import RequestError
from spark_accel.daemon.statistics import Statistics
from spark_accel.fpga import bitstream

_log = logging.getLogger(__name__)

_LOST = "it could not be loaded again after a restart: load it"

READY, LOADING, UNLOADING, UNAVAILABLE = "READY", "LOADING", "UNLOADING", "UNAVAILABLE"


class Loader(Protocol):
    """What brings models to devices: the scheduler."""

    async def load(self, model: LoadedModel) -> None:
        """Loads a model, in the place of the same version if that is loaded; raises ModelLoadError."""

    async def unload(self, name: str, version: int) -> None:
        """Returns when the requests that the version has accepted have ended and it is unloaded."""

    def able(self, name: str, version: int) -> bool:
        """Whether a loaded version is there, or will be after a restart."""


@dataclass
class _Version:
    state: str = LOADING
    reason: str = ""
    model: LoadedModel | None = None  # the one that serves, in state READY


@dataclass
class _Model:
    versions: dict[int, _Version] = field(default_factory=dict)
    override: ModelConfig | None = None  # the configuration that a load request brought, until the model is unloaded
    loaded_from: object = None  # what the ready versions were made from: files and override

    def ready(self) -> dict[int, LoadedModel]:
        found = ((number, version.model) for number, version in sorted(self.versions.items()))
        return {number: model for number, model in found if model is not None}


class Repository:
    """The model repository in `folder`. Loads and unloads of one model follow one another; others go on meanwhile."""

    def __init__(self, folder: Path, loader: Loader, statistics: Statistics) -> None:
        self._folder = folder
        self._loader = loader
        self._statistics = statistics
        self._models: dict[str, _Model] = {}
        self._never_ready: set[str] = set()  # models whose first load is under way or has failed
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        """ServerReady: false while a model loads for the first time, or after that failed, until it is loaded."""
        return not self._never_ready

    def find(self, name: str, version: str) -> LoadedModel:
        """The model that a request asks for, its highest ready version for an empty one; raises RequestError."""
        number = parse_version(version)
        asked = f"'{name}' version {number}" if number else f"'{name}'"
        known = self._models.get(name)
        if known is None or (number and number not in known.versions):
            raise RequestError(StatusCode.NOT_FOUND, f"Request for unknown model: {asked} is not found")
        ready = known.ready()
        if number and number not in ready:
            raise RequestError(StatusCode.UNAVAILABLE, f"Request for unknown model: {asked} is not at ready state")
        if not ready:
            raise RequestError(StatusCode.NOT_FOUND, f"Request for unknown model: {asked} has no available versions")
        return ready[number or max(ready)]

    def is_ready(self, name: str, version: str) -> bool:
        """ModelReady: unknown models are not ready, nor is what no process could load again after a restart.

        Raises RequestError for a version that is no number.
        """
        number = parse_version(version)
        ready = self._ready(name)
        asked = number or max(ready, default=0)  # without a version it is the highest that answers
        return asked in ready and self._loader.able(name, asked)

    def metadata(self, name: str, version: str) -> pb.ModelMetadataResponse:
        """ModelMetadata: with the ready versions; raises RequestError."""
        model = self.find(name, version)
        return model_config.metadata(model, [model.version] if version else self._ready(name))

    def statistics(self, name: str, version: str) -> pb.ModelStatisticsResponse:
        """ModelStatistics of what is ready: of all models for an empty name; raises RequestError."""
        number = parse_version(version)
        if not name:
            everything = ((known, ready) for known in sorted(self._models) for ready in self._ready(known))
            return self._statistics.response(everything)
        ready = self._ready(name)
        if not ready:
            raise RequestError(StatusCode.INVALID_ARGUMENT, f"requested model '{name}' is not available")
        if number and number not in ready:
            text = f"requested model version is not available for model '{name}'"
            raise RequestError(StatusCode.INVALID_ARGUMENT, text)
        return self._statistics.response((name, ready) for ready in ([number] if number else ready))

    def index(self, only_ready: bool) -> pb.RepositoryIndexResponse:
        """RepositoryIndex: the models that have a folder, each with the versions that were ever loaded.

        Built-in ones, which have none, are listed once they were loaded.
        """
        answer = pb.RepositoryIndexResponse()
        built_in = (name for name in builtin_models.names() if name in self._models)
        for name in sorted({*model_folder.names(self._folder), *built_in}):
            versions = self._models.get(name, _Model()).versions
            for number, version in sorted(versions.items()):
                lost = version.state == READY and not self._loader.able(name, number)
                state, reason = (UNAVAILABLE, _LOST) if lost else (version.state, version.reason)
                if state == READY or not only_ready:
                    answer.models.add(name=name, version=str(number), state=state, reason=reason)
            if not versions and not only_ready:
                answer.models.add(name=name)
        return answer

    def load_some(self, names: Callable[[], Awaitable[list[list[str]]]]) -> asyncio.Task[None]:
        """Begins to load models: of each list the first that can be loaded. That one can't is only logged."""
        return self._start(self._load_some(names))

    async def load(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Loads the versions that the model's policy serves, or reloads what has changed; raises RequestError.

        Returns when they serve. Goes on also if the caller is cancelled.
        """
        model_folder.check_name(name)
        override = _override(name, parameters)
        if override is not None and builtin_models.folder(name):
            raise _invalid(f"model '{name}' is built in: its configuration can't be replaced by parameter 'config'")
        await asyncio.shield(self._start(self._load(name, override)))

    async def unload(self, name: str) -> None:
        """Takes the model from new requests; returns before those that it has accepted are done."""
        if name in self._models:
            async with self._lock(name):
                model = self._models[name]
                model.override = model.loaded_from = None
                self._retire(name, model, list(model.ready()))

    async def close(self) -> None:
        """Ends what still loads or unloads."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ready(self, name: str) -> dict[int, LoadedModel]:
        return self._models.get(name, _Model()).ready()

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it; if that was cancelled, nobody needs it

    async def _load_some(self, names: Callable[[], Awaitable[list[list[str]]]]) -> None:
        for alternatives in await names():
            for name in alternatives:
                try:
                    await self._load(name, None)
                except RequestError as error:
                    _log.warning("model '%s' was not loaded at the start: %s", name, error)
                    self._never_ready.discard(name)  # nobody has asked for it
                else:
                    _log.info("model '%s' was loaded at the start", name)
                    break

    async def _load(self, name: str, override: ModelConfig | None) -> None:
        async with self._lock(name):
            known = self._models.get(name, _Model())
            try:
                found = await asyncio.to_thread(_poll, self._folder, name)
            except PollError as error:
                raise _not_polled(name, error) from None
            written = override or known.override or found.config
            if written.name not in ("", name):
                raise _not_polled(name, ConfigError(f"the configuration names model '{written.name}'"))
            source = (found.fingerprint, written.SerializeToString(deterministic=True))
            if source == known.loaded_from and all(self._loader.able(name, number) for number in known.ready()):
                return
            config = model_config.complete(written, name, map(found.version, found.versions))
            wanted = model_folder.served(config, found.versions)
            if not wanted:
                raise _load_failed(
                    name, f"at least one version must be available under the version policy of model '{name}'"
                )
            if name not in self._models:
                self._never_ready.add(name)
            self._models[name] = known
            known.loaded_from = None  # until all versions are: some may be replaced, and another fail
            await self._load_versions(known, found, config, wanted, tuple(written.instance_group))
            self._never_ready.discard(name)
            known.override, known.loaded_from = override or known.override, source
            if config.backend == bitstream.BACKEND:  # what is asked for from now on is to run on it
                for other in self._models.values():
                    if other is not known:
                        other.loaded_from = None
            self._retire(name, known, [number for number in known.ready() if number not in wanted])

    async def _load_versions(
        self,
        known: _Model,
        found: ModelFolder,
        config: ModelConfig,
        wanted: list[int],
        instances: tuple[ModelInstanceGroup, ...],
    ) -> None:
        """Loads the versions `wanted`. One that serves already goes on if its successor can't be loaded."""
        failures = []
        for number in wanted:
            before = known.versions.get(number)
            serves = before is not None and before.state == READY
            version = before if before is not None and serves else _Version()
            known.versions[number] = version
            try:
                model_config.check(config, found.path)
                labels = await asyncio.to_thread(model_config.labels, config, found.path)
                model = LoadedModel(config.name, number, found.version(number), config, labels, instances)
                await self._loader.load(model)
            except ModelLoadError as error:
                reason = str(error).replace(f"{found.path}{os.sep}", "")  # where the repository is, is not told
                reason = reason.encode(errors="replace").decode()  # it may quote a file that holds no text
                failures.append(f"version {number} is at UNAVAILABLE state: {reason};")
                if not serves:
                    version.state, version.reason = UNAVAILABLE, reason
                continue
            except BaseException:
                if not serves:
                    version.state, version.reason = UNAVAILABLE, "Internal: loading was interrupted"
                raise
            version.state, version.model = READY, model
            self._statistics.reset(config.name, number)
        if failures:
            raise _load_failed(config.name, "".join(failures))

    def _retire(self, name: str, model: _Model, numbers: list[int]) -> None:
        for number in numbers:
            version = model.versions[number] = _Version(UNLOADING)
            self._start(self._unload(name, number, version))

    async def _unload(self, name: str, number: int, version: _Version) -> None:
        await self._loader.unload(name, number)
        version.state, version.reason = UNAVAILABLE, "unloaded"


def parse_version(text: str) -> int:
    """The version that a request asks for, 0 for an empty text; raises RequestError."""
    if not text:
        return 0
    details = ""
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 18):
        details = " (details: stol)"
    elif int(text) > 0:
        return int(text)
    raise RequestError(
        StatusCode.INVALID_ARGUMENT,
        f"failed to get model version from specified version string '{text}'{details}, version should be an integral"
        " value > 0",
    )


def _poll(repository: Path, name: str) -> ModelFolder:
    """The model of this name as it lies there, or the built-in one; raises PollError."""
    built_in = builtin_models.folder(name)
    if built_in is None:
        return model_folder.poll(repository, name)
    if (repository / name).exists():
        _log.warning("%s is not used: '%s' is a built-in model; rename the folder", repository / name, name)
    return built_in


def _override(name: str, parameters: Mapping[str, Any]) -> ModelConfig | None:
    override = None
    for key, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if key == "config":
            _expect(key, kind, "string_param")
            try:
                override = model_config.from_json(parameter.string_param)
            except ConfigError as error:
                raise _not_polled(name, error) from None
        elif key.startswith("file:"):
            _expect(key, kind, "bytes_param")
            path = Path(key.removeprefix("file:"))
            if path.is_absolute() or ".." in path.parts:
                raise _invalid(f"load parameter '{key}' must stay within model directory.")
            raise _invalid(f"load parameter '{key}' is refused: this server takes no files over the protocol")
        else:
            raise _invalid(f"unrecognized load parameter '{key}'.")
    return override


def _expect(key: str, kind: str | None, expected: str) -> None:
    if kind != expected:
        raise _invalid(f"invalid value type for load parameter '{key}', expected {expected}.")


def _not_polled(name: str, cause: Exception) -> RequestError:
    # The cause names files of the server: it is for the log only.
    _log.warning("model %r was not loaded: %s", name, cause)
    return RequestError(StatusCode.INTERNAL, f"failed to load '{name}', failed to poll from model repository")


def _load_failed(name: str, text: str) -> RequestError:
    return _invalid(f"load failed for model '{name}': {text}")


def _invalid(text: str) -> RequestError:
    return RequestError(StatusCode.INVALID_ARGUMENT, text)
