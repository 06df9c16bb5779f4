"""Column functions that run on the accelerator of the node a row lies on: `predict`, `try_predict` and `kernel`.

This file is the driver's side: arguments, settings, and the kind of function that this Spark has. What a task does with
the rows of its partition is `partition.py`'s for images and `own_kernels/rows.py`'s for kernels of users.
"""

from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from typing import Any, cast

import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as spark_functions
from pyspark.sql.pandas.functions import pandas_udf

from spark_accel import client, model_store, partition, settings
from spark_accel.own_kernels import rows

RESULT_TYPE = "array<struct<index:int,id:string,label:string,score:float>>"
OnArrays = Callable[[Iterator[pa.Array]], Iterator[pa.Array]]
OfPandas = Callable[[Any], pa.Array]
_arrow_udf: Any = getattr(spark_functions, "arrow_udf", None)  # from Spark 4.1 on


def predict(column: Column | str, model: str = "resnet50", top: int = 5) -> Column:
    """The `top` most likely classes of each image in `column`, best first; null where the cell is null.

    The column holds encoded images (JPEG, PNG, …), Spark's `image` structs, or arrays of pixels: see
    `columns.reader`. The result is `array<struct<index:int,id:string,label:string,score:float>>`; scores are the
    softmax over all classes. `top` above the number of classes gives them all.

    The job fails with DecodeError, naming the row, where an image can't be decoded (`try_predict` goes on), and with
    ModelError where the model repository of the node has no such model. Raises ConfigurationError for a wrong
    `spark.accel.*` setting of the session, ValueError or TypeError for a wrong `top` or `model`.
    """
    return _predict("predict", column, model, top)


def try_predict(column: Column | str, model: str = "resnet50", top: int = 5) -> Column:
    """As `predict`, with null for an image that can't be decoded; each partition that has any logs how many and why."""
    return _predict("try_predict", column, model, top)


def kernel(
    name: str, /, *columns: Column | str, output: str | Sequence[str] | None = None, **values: npt.ArrayLike
) -> Column:
    """What a kernel of the model repository (docs/own-kernels.md) makes of rows: null for a row with a null.

        kernel("black_scholes", "spot", "strike", "years", "volatility", rate=0.03)["call"]

    `columns` are the kernel's inputs in the order of its config.pbtxt, without those that `values` has: scalars, and
    inputs that are the same for all rows, as arrays. They are cast as Spark casts, to the types of the configuration:
    numbers for an input [rows], arrays of one length for [rows, length]. One output has its own type, several are a
    struct; `output` chooses.

    Raises ModelError if the repository of the driver's machine has no such kernel, TypeError or ValueError for
    arguments that it can't take. The job fails where the kernel does, or where the arrays of a column differ in length.
    """
    if not isinstance(name, str):
        raise TypeError(f"the kernel is {name!r}: expected the name of one in the repository")
    for column in columns:
        if not isinstance(column, Column | str):
            raise TypeError(
                f"a column of kernel '{name}' is {column!r}: expected a Column or the name of one; scalars, and arrays"
                " that are the same for all rows, are named, as in rate=0.03"
            )
    configuration = _configuration(SparkSession.active())
    found = model_store.kernel(settings.from_spark(configuration).repository, name)
    called = rows.plan(found, len(columns), output, values)

    def run(arrays: Iterator[pa.Array]) -> Iterator[pa.Array]:
        return called.answer(arrays, configuration)

    cast_columns = [
        (spark_functions.col(column) if isinstance(column, str) else column).cast(kind).alias(tensor.name)
        for column, kind, tensor in zip(columns, called.input_types, called.inputs, strict=True)
    ]
    function = _function(name, run, called.result_type, called.of_pandas)
    answer = function(spark_functions.struct(*cast_columns))
    return (answer[0] if len(called.outputs) > 1 else answer).alias(name)


def device() -> Column:
    """What a row's node classifies on, as text: `spark.range(1).select(device())`. Starts the daemon if need be."""
    configuration = _configuration(SparkSession.active())

    def run(arrays: Iterator[pa.Array]) -> Iterator[pa.Array]:
        for array in arrays:
            name = client.shared(settings.from_spark(configuration)).device()
            yield pa.array([name] * len(array), pa.string())

    return _function("device", run, "string")(spark_functions.lit(0))


def _predict(name: str, column: Column | str, model: str, top: int) -> Column:
    if isinstance(top, bool) or not isinstance(top, Integral) or top < 1:
        raise ValueError(f"top is {top!r}: expected a whole number of classes, 1 or more")
    if not isinstance(model, str):
        raise TypeError(f"model is {model!r}: expected the name of a model in the repository")
    configuration = _configuration(SparkSession.active())

    def run(arrays: Iterator[pa.Array]) -> Iterator[pa.Array]:
        return partition.classify(arrays, configuration, model, int(top), strict=name == "predict")

    return _function(name, run, RESULT_TYPE)(column)


def _configuration(session: SparkSession) -> dict[str, str]:
    """What the session sets of `spark.accel.*`; raises ConfigurationError here rather than in a task."""
    configuration = {key: text for key, text in session.conf.getAll.items() if key.startswith(settings.SPARK_PREFIX)}
    settings.from_spark(configuration, {})
    return configuration


def _function(
    name: str, run: OnArrays, result_type: str, of_pandas: OfPandas | None = None
) -> Callable[[Column | str], Column]:
    if _arrow_udf:
        return _arrow_function(name, run, result_type)
    return _pandas_function(name, run, result_type, of_pandas)


def _arrow_function(name: str, run: OnArrays, result_type: str) -> Callable[[Column | str], Column]:
    def function(arrays: Iterator[pa.Array]) -> Iterator[pa.Array]:
        return run(arrays)

    function.__name__ = name
    return _arrow_udf(function, result_type)  # type: ignore[no-any-return]


def _pandas_function(
    name: str, run: OnArrays, result_type: str, of_pandas: OfPandas | None = None
) -> Callable[[Column | str], Column]:
    """For Spark 4.0, which has no `arrow_udf`: the same, with a detour through pandas on both sides."""
    arrow = of_pandas or _arrow_of_pandas

    def function(cells: Iterator[pd.Series]) -> Iterator[pd.Series]:
        return (pd.Series(result.to_pylist(), dtype=object) for result in run(map(arrow, cells)))

    function.__name__ = name
    return cast(Any, pandas_udf)(function, result_type)  # type: ignore[no-any-return] # its stubs want a number


def _arrow_of_pandas(cells: pd.Series | pd.DataFrame) -> pa.Array:
    if isinstance(cells, pd.Series):
        return pa.Array.from_pandas(cells)
    fields = [pa.Array.from_pandas(cells[name]) for name in cells.columns]  # a null makes a column of integers float64
    fields = [field.cast(pa.int32()) if pa.types.is_floating(field.type) else field for field in fields]
    null = pa.array(cells.isna().all(axis=1).to_numpy())
    return pa.StructArray.from_arrays(fields, names=list(cells.columns), mask=null)
