"""The kernels of the estimators by name: each takes its own inputs from a request, and computes on any engine.

A kernel checks first, `KERNELS[name](request, rows)`, which raises RequestError. Its computation is begun when the data
is loaded, and what that gives waits for the outputs.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from spark_accel.daemon import estimator_request as asked
from spark_accel.daemon.batch_request import BatchRequest
from spark_accel.estimators.rows import Rows
from spark_accel.estimators.sums import ClassSums, Engine, Float64, Int32, LloydSums, LogisticSums, NearestCentres, then

FAMILIES = ("kmeans", "logistic", "naive_bayes")  # what their names begin with; folders of kernels/
Outputs: TypeAlias = Mapping[str, Float64 | Int32]  # in the model's order
Computation: TypeAlias = Callable[[Engine[Any], Any], Callable[[], Outputs]]
_FLOAT64, _INT32 = 8, 4  # bytes


class Checked(NamedTuple):
    """A request that a kernel can answer. `sizes` are the bytes of each of its outputs."""

    sizes: Mapping[str, int]
    computation: Computation


def _lloyd(request: BatchRequest, rows: Rows) -> Checked:
    centres = asked.matrix(request, "centres", rows.features)

    def outputs(found: LloydSums) -> Outputs:
        return {"sums": found.sums, "weight_sums": found.weight_sums, "cost": np.array([found.cost])}

    sizes = {"sums": centres.nbytes, "weight_sums": len(centres) * _FLOAT64, "cost": _FLOAT64}
    return Checked(sizes, lambda engine, data: then(engine.lloyd(data, centres), outputs))


def _costs(request: BatchRequest, rows: Rows) -> Checked:
    centres = asked.matrix(request, "centres", rows.features)

    def outputs(found: NearestCentres) -> Outputs:
        return {"costs": found.costs, "nearest": found.nearest}

    sizes = {"costs": rows.rows * _FLOAT64, "nearest": rows.rows * _INT32}
    return Checked(sizes, lambda engine, data: then(engine.costs(data, centres), outputs))


def _binomial(request: BatchRequest, rows: Rows) -> Checked:
    asked.check_sets(1, rows.features, "'coefficients' has")
    coefficients = asked.vector(request, "coefficients", rows.features)
    (intercept,) = asked.vector(request, "intercepts", 1)

    def computation(engine: Engine[Any], data: Any) -> Callable[[], Outputs]:  # noqa: ANN401 - an engine's own
        return then(engine.binomial(data, coefficients, float(intercept)), _logistic)

    return Checked(_logistic_sizes(coefficients, 1), computation)


def _multinomial(request: BatchRequest, rows: Rows) -> Checked:
    coefficients = asked.matrix(request, "coefficients", rows.features)
    intercepts = asked.vector(request, "intercepts", len(coefficients))

    def computation(engine: Engine[Any], data: Any) -> Callable[[], Outputs]:  # noqa: ANN401 - an engine's own
        return then(engine.multinomial(data, coefficients, intercepts), _logistic)

    return Checked(_logistic_sizes(coefficients, len(coefficients)), computation)


def _logistic(found: LogisticSums) -> Outputs:
    return {"loss": np.array([found.loss]), "gradient": found.gradient, "multiplier_sums": found.multiplier_sums}


def _logistic_sizes(coefficients: Float64, intercepts: int) -> Mapping[str, int]:
    return {"loss": _FLOAT64, "gradient": coefficients.nbytes, "multiplier_sums": intercepts * _FLOAT64}


def _class_sums(request: BatchRequest, rows: Rows) -> Checked:
    classes = asked.integer(request, "classes", 1, 2**31 - 1)
    asked.check_sets(classes, rows.features, "the answer has")
    squares = asked.boolean(request, "squares")
    if "square_sums" in request.outputs and not squares:
        raise asked.invalid("output 'square_sums' needs the request parameter 'squares' to be true")

    def outputs(found: ClassSums) -> Outputs:
        both = {"weight_sums": found.weight_sums, "sums": found.sums}
        return both if found.square_sums is None else both | {"square_sums": found.square_sums}

    sums = classes * rows.features * _FLOAT64
    sizes = {"weight_sums": classes * _FLOAT64, "sums": sums} | ({"square_sums": sums} if squares else {})
    return Checked(sizes, lambda engine, data: then(engine.class_sums(data, classes, squares), outputs))


KERNELS: Mapping[str, Callable[[BatchRequest, Rows], Checked]] = {
    "kmeans_lloyd": _lloyd,
    "kmeans_costs": _costs,
    "logistic_binomial": _binomial,
    "logistic_multinomial": _multinomial,
    "naive_bayes_sums": _class_sums,
}
