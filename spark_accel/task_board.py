"""The board that Spark's resource scheduling gave a task, where the node's daemon drives it.

Spark has its address from `spark-accel discover`, which names all boards of a node, emulated ones where there are no
others; a daemon drives what `spark.accel.device` means, and `auto` never means emulated ones.
"""

import logging
import re
import threading

from pyspark import TaskContext

from spark_accel.client import Client
from spark_accel.errors import AccelError
from spark_accel.settings import Settings

_BOARD = re.compile(r"fpga(-emulator)?-\d+")
_warned = threading.Lock()  # held once this process has warned
_log = logging.getLogger("spark_accel")


def assigned(node: Client, settings: Settings) -> str:
    """The id of this task's board for the request parameter `device`; empty without one, for any device.

    A board that the daemon does not drive is no board either, with one warning a process. With `fallback` error it
    raises AccelError.
    """
    address = _address()
    if not address:
        return ""
    found = node.devices()
    driven = [one.id for one in found.devices]
    if address in driven:
        return address
    there = ", ".join(driven) or f"nothing ({found.failure})"
    text = (
        f"Spark gave a task the board '{address}', which the node's daemon does not drive; it drives {there}. Set"
        " spark.accel.device=fpga, and end a daemon that was started otherwise (`spark-accel stop`)"
    )
    if settings.fallback == "error":
        raise AccelError(f"{text}, or allow spark.accel.fallback=cpu")
    if _warned.acquire(blocking=False):
        _log.warning("%s. Until then such tasks run on what it drives", text)
    return ""


def _address() -> str:
    """Addresses of another discovery script mean nothing here."""
    context = TaskContext.get()
    resource = context.resources().get("fpga") if context else None
    address = next(iter(resource.addresses), "") if resource else ""
    return address if _BOARD.fullmatch(address) else ""
