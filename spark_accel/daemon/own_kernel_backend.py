"""The backend `opencl`: a kernel that a user wrote, one launch a request. docs/own-kernels.md describes it.

What the configuration says is `own_kernels/definition.py`'s, what a request makes of it `own_kernels/binding.py`'s, the
program `own_kernel_program.py`'s. How long a launch may take, the daemon sees to (`worker_process.py`): from here a
kernel can't be stopped.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyopencl as cl
from google.protobuf import json_format
from grpc import StatusCode
from tritonclient.grpc.model_config_pb2 import ModelConfig

from spark_accel.daemon import datatypes, grpc_messages, memory_budget, own_kernel_program
from spark_accel.daemon.backends import BackendError, DamageError, Outcome, Output
from spark_accel.daemon.batch_request import BatchRequest, Input
from spark_accel.daemon.begun import Begun
from spark_accel.daemon.board_program import reloaded
from spark_accel.daemon.guarded_buffers import Guarded, InPlace, in_place
from spark_accel.daemon.network import DeviceMemoryError
from spark_accel.daemon.request import RequestError
from spark_accel.errors import ModelError
from spark_accel.own_kernels import binding, definition
from spark_accel.own_kernels.binding import BindingError, Bound

_TOO_LARGE = (cl.status_code.INVALID_WORK_GROUP_SIZE, cl.status_code.INVALID_WORK_ITEM_SIZE)  # is a group


@dataclass(frozen=True, eq=False)
class _Staged:
    """A request whose inputs are on the device."""

    request: BatchRequest
    bound: Bound
    tensors: Mapping[str, Guarded | InPlace]


@dataclass(frozen=True, eq=False)
class _Running:
    """A request whose kernel is under way until `event`; None: it needs none."""

    staged: _Staged
    event: cl.Event | None


class OwnKernelBackend:
    """See the file's head."""

    def __init__(self, name: str, folder: Path, config: Mapping[str, Any], device: cl.Device) -> None:
        try:
            self._definition = definition.of_config(json_format.ParseDict({**config, "name": name}, ModelConfig()))
        except ModelError as error:
            raise BackendError(f"Invalid argument: {error}") from error
        self._budget = memory_budget.of_device(device)
        self._context = cl.Context([device])
        self._queue, self._copies = cl.CommandQueue(self._context), cl.CommandQueue(self._context)
        self._program, self._kernel = own_kernel_program.load(folder, self._definition, self._context)
        self._constants = own_kernel_program.constants(self._kernel, self._definition)
        is_board = device.type & cl.device_type.ACCELERATOR
        self.program = f"kernel:{name}:{own_kernel_program.digest(folder, self._definition)}" if is_board else ""

    def activate(self) -> None:
        """See OnBoard."""
        self._program = reloaded(self._program, self._context)
        self._kernel = cl.Kernel(self._program, self._definition.kernel)

    def begin(self, requests: Sequence[BatchRequest], lap: Callable[[], None]) -> Begun[list[Outcome]]:
        """See Backend; its result raises DamageError too."""
        staged = [self._staged_or_refusal(request) for request in requests]
        lap()
        there = cl.enqueue_marker(self._copies)
        self._copies.flush()
        running = [one if isinstance(one, RequestError) else self._launched(one, there) for one in staged]
        self._queue.flush()
        events = [one.event for one in running if not isinstance(one, RequestError) and one.event is not None]

        def result() -> list[Outcome]:
            ran = [one if isinstance(one, RequestError) else self._ended(one) for one in running]
            lap()
            return [one if isinstance(one, RequestError) else self._outputs(one) for one in ran]

        return Begun(result, lambda: cl.wait_for_events(events))

    def _staged_or_refusal(self, request: BatchRequest) -> _Staged | RequestError:
        shapes = {name: tensor.shape for name, tensor in request.inputs.items()}
        try:
            bound = binding.bind(self._definition, shapes, request.parameters)
            nbytes = {
                tensor.name: math.prod({**shapes, **bound.outputs}[tensor.name]) * datatypes.ITEM_SIZES[tensor.datatype]
                for tensor in (*self._definition.inputs, *self._definition.outputs)
            }
            self._check_memory(nbytes)
            request.inline_bytes({name: nbytes[name] for name in bound.outputs}, grpc_messages.MAX_BYTES)
            tensors = {name: self._tensor(name, size, request.inputs.get(name)) for name, size in nbytes.items()}
        except BindingError as error:
            return RequestError(StatusCode.INVALID_ARGUMENT, f"model '{self._definition.model}': {error}")
        except RequestError as error:
            return error
        except (MemoryError, cl.MemoryError) as error:
            text = f"model '{self._definition.model}': {error or 'out of memory; send smaller tensors'}"
            return RequestError(StatusCode.RESOURCE_EXHAUSTED, text)
        return _Staged(request, bound, tensors)

    def _tensor(self, name: str, nbytes: int, source: Input | None) -> Guarded | InPlace:
        if source is not None and name in self._constants:
            lying = in_place(self._context, source)
            if lying is not None:
                return lying
        return Guarded(self._context, self._copies, name, nbytes, source)

    def _check_memory(self, nbytes: Mapping[str, int]) -> None:
        """Raises DeviceMemoryError for tensors that would crowd out all else: sizes of outputs are a client's say."""
        if sum(nbytes.values()) > self._budget:
            sizes = ", ".join(f"'{name}' {size:,}" for name, size in nbytes.items())
            raise DeviceMemoryError(
                f"the tensors take more bytes than the {self._budget:,} that a request may have here ({sizes}): send"
                " smaller ones"
            )

    def _launched(self, staged: _Staged, there: cl.Event) -> _Running | RequestError:
        bound = staged.bound
        if not bound.runs:  # OpenCL launches nothing empty
            return _Running(staged, None)
        for index, name in enumerate(self._definition.arguments):
            tensor = staged.tensors.get(name)
            self._kernel.set_arg(index, bound.scalars[name] if tensor is None else tensor.part)
        try:
            sizes = bound.global_size, bound.local_size
            event = cl.enqueue_nd_range_kernel(self._queue, self._kernel, *sizes, wait_for=[there])
        except cl.Error as error:
            return self._not_run(bound, error)
        return _Running(staged, event)

    def _ended(self, running: _Running) -> _Staged | RequestError:
        """Waits for a kernel's end and looks after the guards; raises DamageError."""
        staged = running.staged
        if running.event is None:
            return staged
        try:
            running.event.wait()
        except cl.Error as error:
            return self._not_run(staged.bound, error)
        for name, tensor in staged.tensors.items():
            damage = tensor.damage()
            if damage:
                kind = "input" if name in staged.request.inputs else "output"
                raise DamageError(
                    f"{self._where} wrote out of bounds: {damage} of {kind} '{name}'. Its worker is replaced. Does each"
                    " work item look whether it is one too many (if (i < n))?"
                )
        return staged

    def _not_run(self, bound: Bound, error: cl.Error) -> RequestError:
        if isinstance(error, cl.MemoryError):
            return RequestError(StatusCode.RESOURCE_EXHAUSTED, f"{self._where}: {error}; send smaller tensors")
        if error.code in _TOO_LARGE:
            return RequestError(StatusCode.INVALID_ARGUMENT, self._too_large(bound))
        sizes = f"global_size {list(bound.global_size)}, local_size {list(bound.local_size or ()) or 'of the driver'}"
        return RequestError(StatusCode.INTERNAL, f"{self._where} did not run ({sizes}): {error}")

    def _too_large(self, bound: Bound) -> str:
        (device,) = self._context.devices
        most = self._kernel.get_work_group_info(cl.kernel_work_group_info.WORK_GROUP_SIZE, device)
        return (
            f"{self._where} can't run in groups of local_size {list(bound.local_size or ())}: this device takes at most"
            f" {most:,} work items in all, and {list(device.max_work_item_sizes)} in each dimension; change local_size"
            " in config.pbtxt"
        )

    @property
    def _where(self) -> str:
        return f"kernel '{self._definition.kernel}' of model '{self._definition.model}'"

    def _outputs(self, staged: _Staged) -> list[Output]:
        return [
            Output(tensor.name, tensor.datatype, staged.bound.outputs[tensor.name], found.read())
            for tensor in self._definition.outputs
            if staged.request.wants(tensor.name) and isinstance(found := staged.tensors[tensor.name], Guarded)
        ]
