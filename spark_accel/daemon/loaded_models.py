"""What every process of a device loads: the models that are served, as they were loaded, and the bitstreams that these
run on, though they are served no more.

A process that follows another one must not answer otherwise: files that have changed since are refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spark_accel.daemon import builtin_models, model_folder
from spark_accel.daemon.link import Header
from spark_accel.daemon.model_config import ModelLoadError
from spark_accel.daemon.model_folder import Fingerprint


@dataclass
class Loaded:
    """A model: what a worker is told of it, what its version's folder held, and what the worker answered."""

    model: Header
    files: Fingerprint
    program: str  # that a board needs for it
    provides: str  # the program that it is: a bitstream's
    served: bool = True

    def check_files(self) -> None:
        """Raises ModelLoadError unless the folder holds what it held."""
        try:
            same = model_folder.fingerprint(Path(self.model["folder"])) == self.files
        except OSError:
            same = False
        if not same:
            raise ModelLoadError("Unavailable: its files have changed since it was loaded: load it again")

    def check_program(self, program: str) -> None:
        """Raises ModelLoadError where it would run on another program now."""
        if program != self.program:
            raise ModelLoadError(
                f"Unavailable: it ran on '{self.program}', which can't be loaded any more: load a bitstream and then it"
            )


class LoadedModels:
    """Models by key; later ones have larger keys."""

    def __init__(self) -> None:
        self._models: dict[int, Loaded] = {}

    def add(self, key: int, loaded: Loaded) -> None:
        """A model is served from now on."""
        self._models[key] = loaded

    def drop(self, key: int) -> None:
        """A model is served no more; it is kept as long as another one runs on it."""
        if key in self._models:
            self._models[key].served = False
        for known in [known for known, one in self._models.items() if not one.served and not self._runs_on(known)]:
            del self._models[known]

    def __contains__(self, key: int) -> bool:
        return key in self._models

    def in_order(self) -> Iterator[tuple[int, Loaded]]:
        """All of them, in the order in which they are to be loaded: a network is on the bitstream that is there then,
        estimators on a board follow the latest one, which may be all that the board can run of them."""
        return iter(sorted(self._models.items(), key=lambda one: (_is_of_estimator(one[1]), one[0])))

    def _runs_on(self, key: int) -> bool:
        """Whether a model that is served has this bitstream: a network its own, estimators their family's latest."""
        provides = self._models[key].provides
        family = provides.partition(":")[0]
        later = any(other > key and one.provides.partition(":")[0] == family for other, one in self._models.items())
        wanted = {one.program for one in self._models.values() if one.served}
        return bool(provides) and (provides in wanted or (family in wanted and not later))


def _is_of_estimator(one: Loaded) -> bool:
    return bool(one.program) and one.model["config"].get("backend") == builtin_models.BACKEND
