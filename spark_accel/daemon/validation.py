"""What a ModelInfer request is checked for, before anything of it reaches a queue: `validate`.

Messages are Triton's, and so is the order in which faults are named: request parameters, regions and data
(`tensor_data.py`), names, then datatypes, shapes and sizes. Numbers of the request are never computed with in fixed
width. `[request id: …]` starts those messages in which Triton has it.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from grpc import StatusCode
from tritonclient.grpc import service_pb2 as pb

from spark_accel.daemon import byte_strings, classification, datatypes, request_parameters, tensor_data
from spark_accel.daemon.model_config import ExpectedInput, LoadedModel
from spark_accel.daemon.regions import Regions
from spark_accel.daemon.request import InferenceRequest, InputTensor, RegionSlice, RequestedOutput, RequestError

MAX_PARTS = 1024  # inputs, outputs or parameters of one request
_MAX_SHOWN = 16
_MAX_DEVICE = 100  # characters; ids are short
_BATCH_NOTE = (
    " NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended to each"
    " input shape. If you want to specify the full shape including the batch dim in your input dims config, try setting"
    " max_batch_size to zero. See the model configuration docs for more info on max_batch_size."
)


def validate(request: pb.ModelInferRequest, model: LoadedModel, regions: Regions, lease: str) -> InferenceRequest:
    """The request as the scheduler takes it, every size and offset checked; raises RequestError."""
    _check_counts(request, model)
    parameters = _own_parameters(request) if request.parameters else {}
    tensors = _Tensors(request, model)
    tensors.check_inputs_differ()
    data = tensor_data.of_inputs(request, regions)
    outputs = tuple(_output(tensor, regions) for tensor in request.outputs)
    if outputs:
        _check_outputs(outputs, model)
    tensors.check_names()
    inputs = tensors.inputs(data)
    return InferenceRequest(
        model=model.name,
        version=model.version,
        id=request.id,
        inputs=inputs,
        outputs=outputs,
        parameters=parameters,
        batch=inputs[0].shape[0] if model.batches and inputs else 1,
        priority=_priority(request, model) if request.parameters else 0,
        timeout_us=_timeout(request) if request.parameters else 0,
        device=_device(request) if request.parameters else "",
        lease=lease,
    )


def _check_counts(request: pb.ModelInferRequest, model: LoadedModel) -> None:
    inputs, outputs, parameters = len(request.inputs), len(request.outputs), len(request.parameters)
    if max(inputs, outputs, parameters) <= MAX_PARTS:
        return
    for count, kind in ((inputs, "inputs"), (outputs, "outputs"), (parameters, "parameters")):
        if count > MAX_PARTS:
            raise _invalid(f"{count} {kind} in a request for model '{model.name}', at most {MAX_PARTS} are taken")


def _own_parameters(request: pb.ModelInferRequest) -> dict[str, str | int | bool | float]:
    """The parameters that are the model's own; those of the protocol are checked."""
    own: dict[str, str | int | bool | float] = {}
    for key, parameter in request.parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if key in request_parameters.TYPES:
            if kind not in request_parameters.TYPES[key]:
                expected = " or ".join(request_parameters.TYPES[key])
                raise _invalid(f"invalid value type for '{key}' parameter, expected {expected}.")
        elif key.startswith(request_parameters.RESERVED_PREFIX):
            raise _invalid(
                "parameter keys starting with 'triton_' are reserved for Triton usage. Only the following keys starting"
                f" with 'triton_' are allowed: {request_parameters.FINAL_RESPONSE}"
            )
        elif kind in (None, "uint64_param"):
            raise _invalid(
                f"invalid value type for '{key}' parameter, expected int64_param, bool_param, or string_param."
            )
        else:
            own[key] = getattr(parameter, kind)
    if "priority" in request.parameters and request.parameters["priority"].int64_param < 0:
        raise _invalid("invalid value for 'priority', expected value >= 0.")
    return own


def _priority(request: pb.ModelInferRequest, model: LoadedModel) -> int:
    if "priority" not in request.parameters:
        return 0
    parameter = request.parameters["priority"]
    priority: int = parameter.int64_param or parameter.uint64_param
    return priority if priority <= model.config.dynamic_batching.priority_levels else 0


def _timeout(request: pb.ModelInferRequest) -> int:
    return int(request.parameters["timeout"].int64_param % 2**64) if "timeout" in request.parameters else 0


def _device(request: pb.ModelInferRequest) -> str:
    if "device" not in request.parameters:
        return ""
    device: str = request.parameters["device"].string_param
    if len(device) > _MAX_DEVICE:
        raise _invalid(f"parameter 'device' has {len(device)} characters, expected the id of a device, as in 'cpu-0'")
    return device


def _output(tensor: pb.ModelInferRequest.InferRequestedOutputTensor, regions: Regions) -> RequestedOutput:
    place = tensor_data.in_region(tensor, regions)
    count = 0
    if "classification" in tensor.parameters:
        parameter = tensor.parameters["classification"]
        if parameter.WhichOneof("parameter_choice") != "int64_param":
            raise _invalid("invalid value type for 'classification' parameter, expected int64_param")
        count = parameter.int64_param
        if count <= 0:
            raise _invalid("invalid value for 'classification' parameter, expected >= 0")
    if place is not None and count:
        raise _invalid("output can't set both 'shared_memory_region' and 'classification'")
    return RequestedOutput(tensor.name, place, count)


def _check_outputs(outputs: Iterable[RequestedOutput], model: LoadedModel) -> None:
    known = model.outputs
    seen = set()
    for output in outputs:
        if output.name not in known:
            raise _invalid(f"unexpected inference output '{output.name}' for model '{model.name}'")
        if output.name in seen:
            raise _invalid(f"output '{output.name}' already exists in request for model '{model.name}'")
        seen.add(output.name)
        if output.classification and known[output.name] not in classification.DATATYPES:
            raise _invalid(f"class result not available for output due to unsupported type '{known[output.name]}'")


class _Given(NamedTuple):
    """An input of the request, each field read once: protobuf makes a new object each time."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class _Tensors:
    """The inputs of one request, held against the model's configuration."""

    def __init__(self, request: pb.ModelInferRequest, model: LoadedModel) -> None:
        self._given = [_Given(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in request.inputs]
        self._names = [tensor.name for tensor in self._given]
        self._model = model
        self._id = request.id

    @property
    def _tag(self) -> str:
        return f"[request id: {self._id or '<id_unknown>'}] "

    def check_inputs_differ(self) -> None:
        if len(set(self._names)) == len(self._names):
            return
        name = next(name for name in self._names if self._names.count(name) > 1)
        raise _invalid(f"{self._tag}input '{name}' already exists in request")

    def check_names(self) -> None:
        names, known, required = self._names, self._model.inputs, self._model.required
        missing = [name for name in required if name not in names]
        if not len(required) <= len(names) <= len(known):
            few, most = len(required), len(known)
            number = f"{most} inputs" if few == most else f"number of inputs between {few} and {most}"
            remedy = f", but missing required input(s) {_quoted(missing)}. Please provide all required input(s)."
            raise _invalid(
                f"{self._tag}expected {number} but got {len(names)} inputs for model '{self._model.name}'. Got input(s)"
                f" {_quoted(names)}{remedy if missing else '.'}"
            )
        for name in names:
            if name not in known:
                raise _invalid(f"unexpected inference input '{name}' for model '{self._model.name}'")
        if missing:
            raise _invalid(f"{self._tag}missing required input(s) {_quoted(missing)} for model '{self._model.name}'")

    def inputs(self, data: Iterable[bytes | RegionSlice]) -> tuple[InputTensor, ...]:
        """The inputs in the model's order, with datatypes, shapes and sizes checked."""
        if self._model.batches:
            self._check_batch()
        given = {tensor.name: (tensor, content) for tensor, content in zip(self._given, data, strict=True)}
        expected = self._model.inputs
        return tuple([self._input(expected[name], *given[name]) for name in expected if name in given])

    def _check_batch(self) -> None:
        limit = self._model.config.max_batch_size
        for tensor in self._given:
            if not tensor.shape:
                raise _invalid(
                    f"{self._tag}input '{tensor.name}' has no shape but model requires batch dimension for"
                    f" '{self._model.name}'"
                )
            if tensor.shape[0] != self._given[0].shape[0]:
                raise _invalid(
                    f"{self._tag}input '{tensor.name}' batch size does not match other inputs for '{self._model.name}'"
                )
            if tensor.shape[0] > limit:
                raise _invalid(f"{self._tag}inference request batch-size must be <= {limit} for '{self._model.name}'")

    def _input(self, expected: ExpectedInput, tensor: _Given, data: bytes | RegionSlice) -> InputTensor:
        if tensor.datatype != expected.datatype:
            found = tensor.datatype if tensor.datatype in datatypes.NAMES else "<invalid>"
            raise _invalid(
                f"{self._tag}inference input '{tensor.name}' data-type is '{found}', but model '{self._model.name}'"
                f" expects '{expected.datatype}'"
            )
        self._check_shape(expected, tensor)
        if self._model.batches and not tensor.shape[0]:
            self._check_size(tensor, (1, *tensor.shape[1:]), data)
            raise _invalid(f"{self._tag}inference request batch-size must be >= 1 for '{self._model.name}'")
        self._check_size(tensor, tensor.shape, data)
        return InputTensor(tensor.name, tensor.datatype, tensor.shape, data)

    def _check_shape(self, expected: ExpectedInput, tensor: _Given) -> None:
        same_rank = len(tensor.shape) == len(expected.dims)
        if same_rank and min(tensor.shape, default=0) < 0:
            where = self._of_input(tensor)
            raise _invalid(f"{self._tag}All input dimensions should be specified {where}, got {_shape(tensor.shape)}")
        if same_rank:
            for dim, given in zip(expected.dims, tensor.shape, strict=True):
                if dim not in (-1, given):
                    break
            else:
                return
        raise _invalid(
            f"{self._tag}unexpected shape {self._of_input(tensor)}. Expected {_shape(expected.dims)}, got"
            f" {_shape(tensor.shape)}.{_BATCH_NOTE if self._model.batches else ''}"
        )

    def _of_input(self, tensor: _Given) -> str:
        return f"for input '{tensor.name}' for model '{self._model.name}'"

    def _check_size(self, tensor: _Given, shape: Iterable[int], data: bytes | RegionSlice) -> None:
        count = math.prod(shape)
        if tensor.datatype == datatypes.BYTES:
            if isinstance(data, bytes):  # what lies in a region is checked by the worker when it is read
                byte_strings.check(data, count, tensor.name, self._model.name, self._id)
            return
        expected = count * datatypes.ITEM_SIZES[tensor.datatype]
        size = len(data) if isinstance(data, bytes) else data.size
        if size != expected:
            raise _invalid(
                f"{self._tag}input byte size mismatch for input '{tensor.name}' for model '{self._model.name}'."
                f" Expected {expected}, got {size}"
            )


def _shape(dims: Sequence[int]) -> str:
    shown = [str(dim) for dim in dims[:_MAX_SHOWN]] + ["..."] * (len(dims) > _MAX_SHOWN)
    return f"[{','.join(shown)}]"


def _quoted(names: Sequence[str]) -> str:
    shown = [f"'{name}'" for name in names[:_MAX_SHOWN]] + ["..."] * (len(names) > _MAX_SHOWN)
    return f"[{','.join(shown)}]"


def _invalid(message: str) -> RequestError:
    return RequestError(StatusCode.INVALID_ARGUMENT, message)
