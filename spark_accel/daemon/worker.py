"""A worker process: drives one device for the daemon. `python -m spark_accel.daemon.worker DATA CONTROL DEVICE TIER`.

The main thread runs the batches that come on socket DATA, one after another; a second one answers on CONTROL, so that
models load while batches run. The process ends when the daemon closes the sockets or dies. Its log is its stderr, which
is the daemon's.
"""

import itertools
import logging
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from spark_accel.daemon import batch_request, devices
from spark_accel.daemon.backends import Backend, BackendError, Backends, DamageError, OnBoard, Outcome
from spark_accel.daemon.batch_request import BatchRequest
from spark_accel.daemon.link import Buffer, Header, Link
from spark_accel.daemon.request import RequestError

if TYPE_CHECKING:
    import pyopencl as cl

_log = logging.getLogger(__name__)


class Worker:
    """The models of one device and the requests that run on them."""

    def __init__(self, data: Link, control: Link, device: "cl.Device | None", tier: str) -> None:
        self._data = data
        self._control = control
        self._backends = Backends(device, tier)
        self._programs = Programs()
        self._models: dict[int, tuple[str, Backend]] = {}
        self._files: dict[int, int] = {}  # descriptors of regions by number

    def run_batches(self) -> None:
        """Serves DATA until the daemon closes it."""
        while True:
            header, payload, descriptor = self._data.receive()
            if header["op"] == "execute":
                answer, parts = self._execute(header, payload)
                self._data.send(answer, parts)
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
            self._models[header["key"]] = (header["name"], model)
            return {"program": self._programs.of(model)}
        elif header["op"] == "unload":
            self._backends.unloaded(self._models.pop(header["key"])[1])
        return {}

    def _execute(self, header: Header, payload: memoryview) -> tuple[Header, list[Buffer]]:
        name, model = self._models[header["key"]]
        answer: Header = {}
        laps = [time.perf_counter_ns()]

        def lap() -> None:
            laps.append(time.perf_counter_ns())

        parts: list[Buffer] = []
        try:
            answer |= self._programs.activate(model)
            laps[0] = time.perf_counter_ns()  # what the board's reprogramming takes is none of the model's time
            requests = batch_request.decode(header, payload, self._files)
            outcomes = model.run(requests, lap)
            answer["requests"] = [_deliver(*one, parts) for one in zip(requests, outcomes, strict=True)]
        except DamageError as error:
            answer["error"] = ("INTERNAL", str(error))
            answer["damaged"] = True  # the daemon ends this process
            parts.clear()
        except Exception as error:
            _log.exception("model '%s' failed", name)
            text = f"Failed to process the request(s) for model '{name}', message: {type(error).__name__}: {error}"
            answer["error"] = ("INTERNAL", text)
            parts.clear()
        laps += [time.perf_counter_ns()] * (4 - len(laps))
        answer["times"] = [after - before for before, after in itertools.pairwise(laps)]
        return answer, parts


class Programs:
    """The program that a board holds. Devices that are no boards have none: their backends name none."""

    def __init__(self) -> None:
        self._current = ""

    def of(self, model: Backend) -> str:
        """The program that a model needs; empty on devices that hold any number of them."""
        return model.program if isinstance(model, OnBoard) else ""

    def activate(self, model: Backend) -> Header:
        """Has the board hold the model's program; says how long that took, where it held another."""
        program = self.of(model)
        if not program or program == self._current:
            return {}
        began = time.perf_counter_ns()
        assert isinstance(model, OnBoard)  # noqa: S101 - it names a program
        model.activate()
        self._current = program
        return {"programmed_ns": time.perf_counter_ns() - began}


def _deliver(request: BatchRequest, outcome: Outcome, parts: list[Buffer]) -> Header:
    """Writes outputs to their regions, appends the others to `parts`, and describes them."""
    if isinstance(outcome, RequestError):
        return _error(outcome)
    outputs: list[object] = []
    inline: list[Buffer] = []
    try:
        for name, datatype, shape, data in outcome:
            place = request.outputs.get(name)
            if place is None:
                inline.append(data)
                outputs.append((name, datatype, shape, len(data)))
            else:
                place.write(data, name)
                outputs.append((name, datatype, shape, None))
    except RequestError as error:
        return _error(error)
    parts.extend(inline)
    return {"outputs": outputs}


def _error(error: RequestError) -> Header:
    return {"error": (error.code.name, error.message)}


def main() -> None:
    """Runs the process, see the file's head."""
    logging.basicConfig(format="%(asctime)s worker %(process)d %(levelname)s %(message)s", level=logging.INFO)
    data, control = (Link(socket.socket(fileno=int(argument))) for argument in sys.argv[1:3])
    id, tier = sys.argv[3:]
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
