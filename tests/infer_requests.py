"""ModelInfer requests as the tests write them, good and bad: the client library would not send the bad ones."""
# ruff: noqa: ANN401 - values of parameters have all kinds of types, wrong ones too

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2 as pb

X4 = np.arange(1, 5, dtype=np.float32).tobytes()
Tensor = tuple[pb.ModelInferRequest.InferInputTensor, list[bytes]]


def parameters(values: Mapping[str, Any]) -> dict[str, pb.InferParameter]:
    """Each value in the field that fits its Python type; an InferParameter is passed on."""
    fields = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
    return {
        key: value if isinstance(value, pb.InferParameter) else pb.InferParameter(**{fields[type(value)]: value})
        for key, value in values.items()
    }


def placed(region: Any, size: Any, offset: Any = 0) -> dict[str, Any]:
    """The tensor parameters that place a tensor in a registered region."""
    return {"shared_memory_region": region, "shared_memory_byte_size": size, "shared_memory_offset": offset}


def tensor(name: str, shape: Iterable[int], data: bytes | None, datatype: str = "FP32", **values: Any) -> Tensor:
    """An input and its raw bytes; None: none. `values` are its parameters."""
    message = pb.ModelInferRequest.InferInputTensor(
        name=name, datatype=datatype, shape=shape, parameters=parameters(values)
    )
    return message, [] if data is None else [data]


def x(shape: Iterable[int] = (1, 4), data: bytes | None = X4, datatype: str = "FP32", **values: Any) -> Tensor:
    """The input of most models."""
    return tensor("x", shape, data, datatype, **values)


def typed(datatype: str, shape: Iterable[int] = (1, 4), **contents: Any) -> Tensor:
    """Input `x` with typed contents: `fp32_contents=[…]`."""
    message, _ = tensor("x", shape, None, datatype)
    message.contents.CopyFrom(pb.InferTensorContents(**contents))
    return message, []


def y(name: str = "y", **values: Any) -> pb.ModelInferRequest.InferRequestedOutputTensor:
    """A requested output with these parameters."""
    return pb.ModelInferRequest.InferRequestedOutputTensor(name=name, parameters=parameters(values))


def request(
    *inputs: Tensor,
    outputs: Iterable[pb.ModelInferRequest.InferRequestedOutputTensor] = (),
    model: str = "identity",
    version: str = "",
    id: str = "",
    raw: Iterable[bytes] = (),
    **values: Any,
) -> pb.ModelInferRequest:
    """A request; `raw` follows the inputs' own bytes; `values` are its parameters."""
    message = pb.ModelInferRequest(
        model_name=model, model_version=version, id=id, outputs=outputs, parameters=parameters(values)
    )
    message.inputs.extend(each for each, _ in inputs)
    message.raw_input_contents.extend([part for _, parts in inputs for part in parts] + list(raw))
    return message
