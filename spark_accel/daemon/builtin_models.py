"""The models that every daemon has, without a folder in the model repository: the kernels of the estimators.

docs/estimator-kernels.md describes them. Each exists on float32 and, as `NAME_fp64`, on float64 data. Their names are
the daemon's own: clients that ask for one rely on its arithmetic, so nothing that lies in a repository replaces it.
What computes them is `estimator_backend.py`.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from tritonclient.grpc import model_config_pb2
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInput, ModelOutput

from spark_accel.daemon.model_folder import ModelFolder

BACKEND = "estimator"
TOGETHER = 4  # requests that a worker gets at once, if they wait
_FP64 = "_fp64"

# Tensors as `name: datatype`, `?` behind what is optional. `values` are added to them, of the model's precision.
_SPARSE = ("indices: INT32?", "row_pointers: INT64?")
_WEIGHTS = ("weights: FP64?",)
_LABELS = ("labels: INT32",)
_LINEAR = ("coefficients: FP64", "intercepts: FP64")
_LOGISTIC = (
    (*_SPARSE, *_LABELS, *_WEIGHTS, *_LINEAR),
    ("loss: FP64", "gradient: FP64", "multiplier_sums: FP64"),
)
_TENSORS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "kmeans_lloyd": (
        (*_SPARSE, *_WEIGHTS, "centres: FP64"),
        ("sums: FP64", "weight_sums: FP64", "cost: FP64"),
    ),
    "kmeans_costs": (
        (*_SPARSE, *_WEIGHTS, "centres: FP64"),
        ("costs: FP64", "nearest: INT32"),
    ),
    "logistic_binomial": _LOGISTIC,
    "logistic_multinomial": _LOGISTIC,
    "naive_bayes_sums": (
        (*_SPARSE, *_LABELS, *_WEIGHTS),
        ("weight_sums: FP64", "sums: FP64", "square_sums: FP64"),
    ),
}


def names() -> list[str]:
    """All of them, sorted."""
    return sorted(name + suffix for name in _TENSORS for suffix in ("", _FP64))


@cache
def folder(name: str) -> ModelFolder | None:
    """The built-in model of this name as if it had a folder, with version 1; None if there is none."""
    kernel = name.removesuffix(_FP64)
    if kernel not in _TENSORS:
        return None
    inputs, outputs = _TENSORS[kernel]
    precision = "FP64" if name.endswith(_FP64) else "FP32"
    config = ModelConfig(
        name=name,
        backend=BACKEND,
        input=[ModelInput(**tensor) for tensor in _described((f"values: {precision}", *inputs))],
        output=[ModelOutput(**tensor) for tensor in _described(outputs)],
    )
    config.parameters["kernel"].string_value = kernel
    return ModelFolder(Path(__file__).parent, config, (1,), ())


def _described(tensors: Iterable[str]) -> Iterable[dict[str, object]]:
    for tensor in tensors:
        name, datatype = tensor.removesuffix("?").split(": ")
        described: dict[str, object] = {"name": name, "dims": [-1]}
        described["data_type"] = model_config_pb2.DataType.Value(f"TYPE_{datatype}")
        if tensor.endswith("?"):
            described["optional"] = True
        yield described
