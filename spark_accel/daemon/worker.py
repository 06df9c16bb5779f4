"""A worker process: drives one device for the daemon. `python -m spark_accel.daemon.worker DATA CONTROL DEVICE TIER`.

The main thread runs the batches that come on socket DATA, one after another: while a device with memory of its own
computes one, the next is copied there, see `waiter.py`. A second thread answers on CONTROL, so that models load while
batches run. The process ends when the daemon closes the sockets or dies. Its log is its stderr, which is the daemon's.
"""

import logging
import os
import socket
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from spark_accel.daemon import batch_request, devices, open_files
from spark_accel.daemon.backends import Backend, BackendError, Backends, OnBoard, Provides
from spark_accel.daemon.link import Header, Link
from spark_accel.daemon.waiter import Waiter
from spark_accel.daemon.worker_batch import Batch

if TYPE_CHECKING:
    import pyopencl as cl

_log = logging.getLogger(__name__)


class Worker:
    """The models of one device and the requests that run on them."""

    def __init__(self, data: Link, control: Link, device: "cl.Device | None", tier: str) -> None:
        self._data = data
        self._control = control
        self._backends = Backends(device, tier)
        self._programs = _Programs()
        self._models: dict[int, _Model] = {}
        self._files: dict[int, int] = {}  # descriptors of regions by number
        self._copies = device is not None and devices.has_own_memory(devices.kind(device))
        self._under_way: deque[Batch] = deque()
        self._waiter = Waiter()
        self._device_free = 0  # when the batch before was computed

    def run_batches(self) -> None:
        """Serves DATA until the daemon closes it. Answers come in the order of the batches."""
        while True:
            if self._under_way and self._waiter.ended_first(self._data):
                self._answer_first()
                continue
            header, payload, descriptor = self._data.receive()
            if header["op"] == "execute":
                self._begin(header, payload)
                del payload  # it may be large, and the next frame may be long in coming
            elif header["op"] == "region":
                assert descriptor is not None  # noqa: S101 - the daemon sends it with the frame
                self._files[header["region"]] = descriptor
            else:
                self._backends.region_closed(header["region"])
                os.close(self._files.pop(header["region"]))

    def manage(self) -> None:
        """Serves CONTROL; ends the process, whatever the main thread is at, when the daemon is gone."""
        try:
            while True:
                header, _, _ = self._control.receive()
                self._control.send({"number": header["number"], **self._managed(header)})
        except (EOFError, OSError):
            os._exit(0)

    def _managed(self, header: Header) -> Header:
        if header["op"] == "load":
            try:
                model = self._backends.load(header["name"], Path(header["folder"]), header["config"])
            except BackendError as error:
                return {"error": str(error)}
            except Exception as error:
                _log.exception("model '%s' can't be loaded", header["name"])
                return {"error": f"Internal: {type(error).__name__}: {error}"}
            loaded = _Model(header["name"], model, model if isinstance(model, OnBoard) else None)
            self._models[header["key"]] = loaded
            return {"program": loaded.program, "provides": model.built.name if isinstance(model, Provides) else ""}
        elif header["op"] == "unload":
            self._backends.unloaded(self._models.pop(header["key"]).backend)
        return {}

    def _begin(self, header: Header, payload: memoryview) -> None:
        model = self._models[header["key"]]
        if not self._programs.holds(model):
            self._answer_all()  # a board runs nothing while it is given another program
        batch = Batch(
            model.name,
            model.backend,
            lambda: self._programs.activate(model),
            lambda: batch_request.decode(header, payload, self._files),
        )
        self._under_way.append(batch)
        if batch.wait is not None and self._copies:
            self._waiter.add(batch.wait)
        else:
            self._answer_all()

    def _answer_all(self) -> None:
        while self._under_way:
            self._answer_first()

    def _answer_first(self) -> None:
        batch = self._under_way.popleft()
        if batch.wait is not None and self._copies:
            self._waiter.take()
        answer = batch.answer(self._device_free)
        self._device_free = time.perf_counter_ns()
        self._data.send(*answer)


class _Model(NamedTuple):
    """A loaded model; `on_board` is its backend where that is one of a board's, which is dear to find out."""

    name: str
    backend: Backend
    on_board: OnBoard | None

    @property
    def program(self) -> str:
        """The program that it needs; empty on devices that hold any number of them."""
        return "" if self.on_board is None else self.on_board.program


class _Programs:
    """The program that a board holds. Devices that are no boards have none: their models name none."""

    def __init__(self) -> None:
        self._current = ""

    def holds(self, model: _Model) -> bool:
        """Whether the model can run without another program."""
        return model.program in ("", self._current)

    def activate(self, model: _Model) -> Header:
        """Has the board hold the model's program; says how long that took, where it held another."""
        if self.holds(model):
            return {}
        assert model.on_board is not None  # noqa: S101 - it names a program
        began = time.perf_counter_ns()
        self._current = ""  # if this fails, nobody knows what it holds
        model.on_board.activate()
        self._current = model.program
        return {"programmed_ns": time.perf_counter_ns() - began}


def main() -> None:
    """Runs the process, see the file's head."""
    logging.basicConfig(format="%(asctime)s worker %(process)d %(levelname)s %(message)s", level=logging.INFO)
    data, control = (Link(socket.socket(fileno=int(argument))) for argument in sys.argv[1:3])
    id, tier = sys.argv[3:]
    open_files.allow_most()
    device = None if id == devices.REFERENCE.id else devices.open_device(id)
    worker = Worker(data, control, device, tier)
    try:
        control.send({"number": 0})
        threading.Thread(target=worker.manage, name="control", daemon=True).start()
        worker.run_batches()
    except (EOFError, OSError):
        os._exit(0)  # the daemon is gone: no thread is worth waiting for


if __name__ == "__main__":
    main()
