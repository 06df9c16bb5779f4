"""A batch and its answer as frames between scheduler and worker: which requests may share one, and their encoding.

Header of a batch: `{"key", "requests": [{"inputs": [[name, datatype, shape, place]], "outputs": [[name, place]],
"parameters", "batch", "id"}]}`. A place is the size of the next bytes in the payload, or `[region, offset, size]` with
the offset counted from the file's start; an output's is null where it is answered inline. `batch_request.py` reads it.
"""

from collections.abc import Hashable, Iterator, Sequence

from grpc import StatusCode

from spark_accel.daemon.link import Buffer, Header
from spark_accel.daemon.request import (
    InferenceRequest,
    InferenceResult,
    OutputTensor,
    RegionSlice,
    RequestError,
)


def shape(request: InferenceRequest) -> Hashable:
    """Requests for which this is equal can share a batch: inputs alike but for the number of rows."""
    return tuple((tensor.name, tensor.shape[1:]) for tensor in request.inputs)


def encode(key: int, requests: Sequence[InferenceRequest]) -> tuple[Header, list[Buffer]]:
    """Header and payload for a batch of model `key`."""
    payload: list[Buffer] = []
    described = []
    for request in requests:
        inputs: list[object] = []
        for tensor in request.inputs:
            if isinstance(tensor.data, RegionSlice):
                inputs.append((tensor.name, tensor.datatype, tensor.shape, _place(tensor.data)))
            else:
                inputs.append((tensor.name, tensor.datatype, tensor.shape, len(tensor.data)))
                payload.append(tensor.data)
        outputs = [(output.name, output.region and _place(output.region)) for output in request.outputs]
        described.append(
            {
                "inputs": inputs,
                "outputs": outputs,
                "parameters": dict(request.parameters),
                "batch": request.batch,
                "id": request.id,
            }
        )
    return {"op": "execute", "key": key, "requests": described}, payload


def decode(answer: Header, data: memoryview, count: int) -> Iterator[InferenceResult | RequestError]:
    """The outcomes of the `count` requests of a batch, in their order."""
    if "error" in answer:
        yield from [_error(answer["error"])] * count
        return
    at = 0
    for described in answer["requests"]:
        if "error" in described:
            yield _error(described["error"])
            continue
        outputs = []
        for name, datatype, dimensions, size in described["outputs"]:
            content = None if size is None else bytes(data[at : at + size])
            at += size or 0
            outputs.append(OutputTensor(name, datatype, tuple(dimensions), content))
        yield InferenceResult(tuple(outputs))


def _place(region: RegionSlice) -> tuple[int, int, int]:
    return region.region, region.offset, region.size


def _error(error: Sequence[str]) -> RequestError:
    code, message = error
    return RequestError(StatusCode[code], message)
