"""Which of the repository's bitstreams a daemon that has just started loads by itself, before what may run on them.

What runs on a board needs one, and what was loaded ends with each daemon: nobody is to load it again by hand.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from spark_accel.daemon import model_folder
from spark_accel.daemon.model_folder import PollError
from spark_accel.errors import ModelError
from spark_accel.fpga import bitstream
from spark_accel.protocol import accel_pb2

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Installed:
    model: str
    family: str
    board: str
    time_ns: int  # when it was written


async def for_devices(repository: Path, devices: Callable[[], Awaitable[accel_pb2.DevicesResponse]]) -> list[list[str]]:
    """`for_boards` of the boards among what the daemon drives, once that is known."""
    boards = {one.name for one in (await devices()).devices if one.kind == "fpga"}
    return await asyncio.to_thread(for_boards, repository, boards) if boards else []


def for_boards(repository: Path, boards: Collection[str]) -> list[list[str]]:
    """The models for these boards: a list for each family and board, the latest first; the others are for when it can't
    be loaded.

    A model counts by its highest version that its version policy serves. What can't be read is left out.
    """
    found: dict[tuple[str, str], list[_Installed]] = {}
    for name in model_folder.names(repository):
        one = _installed(repository, name)
        if one is None:
            continue
        if not any(bitstream.is_for(one.board, board) for board in boards):
            _log.info("bitstream '%s' is not loaded: it is for board '%s'", name, one.board)
            continue
        found.setdefault((one.family, one.board), []).append(one)
    lists = [sorted(ones, key=lambda one: one.time_ns, reverse=True) for ones in found.values()]
    return [[one.model for one in ones] for ones in sorted(lists, key=lambda ones: ones[0].time_ns)]


def _installed(repository: Path, name: str) -> _Installed | None:
    try:
        found = model_folder.poll(repository, name)
        if found.config.backend != bitstream.BACKEND:
            return None
        folder = found.version(max(model_folder.served(found.config, found.versions)))
        facts = bitstream.read(folder)
        return _Installed(name, facts.family, facts.board, (folder / bitstream.FACTS).stat().st_mtime_ns)
    except (PollError, ModelError, OSError, ValueError) as error:
        _log.warning("model '%s' is not loaded: %s", name, error)
        return None
