"""Where a request's tensors lie: in raw contents, in typed contents, or in a registered region.

The first half of the check of a request (`validation.py` is the whole): messages and their order are Triton's. Typed
contents become raw bytes here, so that nobody behind knows of them.
"""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from grpc import StatusCode
from tritonclient.grpc import service_pb2 as pb

from spark_accel.daemon import byte_strings
from spark_accel.daemon.datatypes import BYTES
from spark_accel.daemon.regions import Regions
from spark_accel.daemon.request import RegionSlice, RequestError

_Tensor: TypeAlias = pb.ModelInferRequest.InferInputTensor | pb.ModelInferRequest.InferRequestedOutputTensor

# By datatype: the field of InferTensorContents that holds its values, and their format in raw contents.
_TYPED: Mapping[str, tuple[str, str]] = {
    "BOOL": ("bool_contents", "?"),
    "INT8": ("int_contents", "<i1"),
    "INT16": ("int_contents", "<i2"),
    "INT32": ("int_contents", "<i4"),
    "INT64": ("int64_contents", "<i8"),
    "UINT8": ("uint_contents", "<u1"),
    "UINT16": ("uint_contents", "<u2"),
    "UINT32": ("uint_contents", "<u4"),
    "UINT64": ("uint64_contents", "<u8"),
    "FP32": ("fp32_contents", "<f4"),
    "FP64": ("fp64_contents", "<f8"),
    BYTES: ("bytes_contents", ""),
}
# What a message calls the datatype of a field.
_FIELDS: Mapping[str, str] = {
    "bool_contents": "BOOL",
    "int_contents": "INT32",
    "int64_contents": "INT64",
    "uint_contents": "UINT32",
    "uint64_contents": "UINT64",
    "fp32_contents": "FP32",
    "fp64_contents": "FP64",
    "bytes_contents": BYTES,
}


def of_inputs(request: pb.ModelInferRequest, regions: Regions) -> list[bytes | RegionSlice]:
    """The data of each input, in their order; raises RequestError for one that has none, or two kinds."""
    data: list[bytes | RegionSlice] = []
    raw = iter(request.raw_input_contents)
    for tensor in request.inputs:
        place = in_region(tensor, regions)
        typed = tensor.HasField("contents")
        if place is None and not typed and (content := next(raw, None)) is not None:
            data.append(content)
            continue
        where = f"for input tensor '{tensor.name}' for model '{request.model_name}'"
        if place is not None and typed:
            raise _invalid(f"unexpected 'content' provided when using shared memory {where}")
        if typed and request.raw_input_contents:
            raise _invalid(
                "contents field must not be specified when using raw_input_contents for"
                f" '{tensor.name}' for model '{request.model_name}'"
            )
        if place is not None:
            data.append(place)
        elif typed:
            data.append(_from_typed(tensor, where))
        else:
            raise _invalid(f"unable to find data {where} in request.")
    return data


def in_region(tensor: _Tensor, regions: Regions) -> RegionSlice | None:
    """The part of a region that the tensor's parameters name; None without; raises RequestError for a wrong one."""
    parameters = tensor.parameters
    if not parameters:
        return None
    region = _value(tensor, "shared_memory_region", "string_param")
    given = {}
    for key in ("shared_memory_offset", "shared_memory_byte_size"):
        if key in parameters and region is None:
            raise _invalid(
                f"'{key}' can not be specified without 'shared_memory_region' parameter for tensor '{tensor.name}'"
            )
        given[key] = _value(tensor, key, "int64_param")
    if region is None:
        return None
    size = given["shared_memory_byte_size"]
    if size is None:
        raise _invalid(
            "'shared_memory_byte_size' must be specified along with 'shared_memory_region' parameter for tensor"
            f" '{tensor.name}'"
        )
    return regions.slice(str(region), int(given["shared_memory_offset"] or 0), int(size))


def _value(tensor: _Tensor, key: str, field: str) -> str | int | None:
    if key not in tensor.parameters:
        return None
    parameter = tensor.parameters[key]
    if parameter.WhichOneof("parameter_choice") != field:
        raise _invalid(f"invalid value type for '{key}' parameter for tensor '{tensor.name}', expected {field}.")
    value: str | int = getattr(parameter, field)
    return value


def _from_typed(tensor: pb.ModelInferRequest.InferInputTensor, where: str) -> bytes:
    field, format_ = _TYPED.get(tensor.datatype, ("", ""))
    for other, datatype in _FIELDS.items():
        if other != field and getattr(tensor.contents, other):
            raise _invalid(
                f"unexpected explicit tensor data {where} of type '{datatype}', expected datatype '{tensor.datatype}'"
            )
    if not field:
        return b""  # nothing was given; the datatype itself is refused later
    values = getattr(tensor.contents, field)
    if tensor.datatype == BYTES:
        return byte_strings.serialize(values)
    try:
        return np.array(values, dtype=format_).tobytes()
    except OverflowError:
        raise _invalid(f"a value {where} is out of the range of datatype '{tensor.datatype}'") from None


def _invalid(message: str) -> RequestError:
    return RequestError(StatusCode.INVALID_ARGUMENT, message)
