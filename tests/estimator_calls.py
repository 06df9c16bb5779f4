"""Requests to the built-in models of the estimators, and what the reference answers to them when called directly."""
# ruff: noqa: ANN401 - parameters have all kinds of types

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from daemons import Daemon, region
from infer_requests import placed, request, tensor, y
from partitions import Array, Partition
from tritonclient.grpc import service_pb2 as pb

from spark_accel.estimators.reference import ReferenceEngine

CLASSES = 3
DATATYPES = {"float32": "FP32", "float64": "FP64", "int32": "INT32", "int64": "INT64"}
_DTYPES = {datatype: dtype for dtype, datatype in DATATYPES.items()}
_ALIGNMENT = 64
_ENGINE = ReferenceEngine()


@dataclass(frozen=True, eq=False)
class Call:
    """A request: `columns` are the partition's inputs, `arguments` the kernel's own."""

    kernel: str
    columns: Mapping[str, Array]
    arguments: Mapping[str, Array]
    parameters: Mapping[str, Any]
    places: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of what lies in a region
    outputs: tuple[pb.ModelInferRequest.InferRequestedOutputTensor, ...] = ()

    @property
    def inputs(self) -> dict[str, Array]:
        return {**self.columns, **self.arguments}

    @property
    def model(self) -> str:
        return self.kernel if self.columns["values"].dtype == np.float32 else f"{self.kernel}_fp64"

    def message(self) -> pb.ModelInferRequest:
        tensors = [
            tensor(name, [values.size], None if name in self.places else values.tobytes(), datatype, **place)
            for name, values in self.inputs.items()
            for datatype, place in [(DATATYPES[values.dtype.name], self.places.get(name, {}))]
        ]
        return request(*tensors, model=self.model, outputs=self.outputs, **self.parameters)

    def changed(self, **parameters: Any) -> "Call":
        """The same with other parameters."""
        return replace(self, parameters={**self.parameters, **parameters})

    def answer(self, daemon: Daemon) -> dict[str, Array]:
        """What the daemon answers inline, by output; empty for what is in a region."""
        response = daemon.infer(self.message())
        answers = {}
        for output, data in zip(response.outputs, response.raw_output_contents, strict=True):
            answers[output.name] = np.frombuffer(data, _DTYPES[output.datatype])
            assert list(output.shape) == [answers[output.name].size] or not data
        return answers


def call(kernel: str, data: Partition, rng: np.random.Generator, **parameters: Any) -> Call:
    """A sound request to `kernel`, all of it inline."""
    columns = {name: values for name, values in data.columns.items() if name != "labels" or "kmeans" not in kernel}
    own = {"classes": CLASSES, "squares": True} if kernel == "naive_bayes_sums" else {}
    given = {"rows": data.rows, "features": data.features, **own, **parameters}
    return Call(kernel, columns, _ARGUMENTS[kernel](data, rng), given)


def expected(one: Call, data: Partition) -> dict[str, Array]:
    """What the reference answers, flat, by output in the model's order."""
    loaded = _ENGINE.load(data.as_rows(), resident=True)
    found = _EXPECTED[one.kernel](loaded, one)
    return {name: np.atleast_1d(values).reshape(-1) for name, values in found.items()}


def same(answers: Mapping[str, Array], wanted: Mapping[str, Array]) -> bool:
    """Whether two answers have the same outputs and bits."""
    assert list(answers) == list(wanted)
    return all(np.array_equal(answers[name], wanted[name]) for name in wanted)


@contextlib.contextmanager
def in_region(daemon: Daemon, one: Call, name: str = "partition") -> Iterator[Call]:
    """The call with its columns in a new region `name`; those without elements, which no region can hold, inline."""
    data, offsets = packed(one.columns)
    with region(daemon, name, data):
        yield replace(
            one,
            places={
                column: placed(name, values.nbytes, offsets[column])
                for column, values in one.columns.items()
                if values.nbytes
            },
        )


def packed(arrays: Mapping[str, Array]) -> tuple[bytes, dict[str, int]]:
    """The arrays one after another, and the offset of each."""
    data, offsets = bytearray(), {}
    for name, values in arrays.items():
        data += bytes(-len(data) % _ALIGNMENT)
        offsets[name] = len(data)
        data += values.tobytes()
    return bytes(data), offsets


def wanted(*names: str, **places: Mapping[str, Any]) -> tuple[pb.ModelInferRequest.InferRequestedOutputTensor, ...]:
    """Requested outputs: `names` inline, `places` in regions."""
    return (*(y(name) for name in names), *(y(name, **place) for name, place in places.items()))


def _centres(data: Partition, rng: np.random.Generator) -> dict[str, Array]:
    return {"centres": rng.normal(1, 1, (4, data.features))}


def _linear(sets: int) -> Callable[[Partition, np.random.Generator], dict[str, Array]]:
    return lambda data, rng: {
        "coefficients": rng.normal(0, 1, (sets, data.features)),
        "intercepts": rng.normal(0, 1, sets),
    }


_ARGUMENTS: dict[str, Callable[[Partition, np.random.Generator], dict[str, Array]]] = {
    "kmeans_lloyd": _centres,
    "kmeans_costs": _centres,
    "logistic_binomial": _linear(1),
    "logistic_multinomial": _linear(CLASSES),
    "naive_bayes_sums": lambda _data, _rng: {},
}


def _costs(loaded: Any, one: Call) -> dict[str, Array]:
    found = _ENGINE.costs(loaded, one.arguments["centres"])()
    return {"costs": found.costs, "nearest": found.nearest}


_EXPECTED: dict[str, Callable[[Any, Call], dict[str, Any]]] = {
    "kmeans_lloyd": lambda loaded, one: vars(_ENGINE.lloyd(loaded, one.arguments["centres"])()),
    "kmeans_costs": _costs,
    "logistic_binomial": lambda loaded, one: vars(
        _ENGINE.binomial(loaded, one.arguments["coefficients"][0], one.arguments["intercepts"][0])()
    ),
    "logistic_multinomial": lambda loaded, one: vars(
        _ENGINE.multinomial(loaded, one.arguments["coefficients"], one.arguments["intercepts"])()
    ),
    "naive_bayes_sums": lambda loaded, one: {
        name: values
        for name, values in vars(_ENGINE.class_sums(loaded, CLASSES, one.parameters["squares"])()).items()
        if values is not None
    },
}
KERNELS = tuple(_EXPECTED)
