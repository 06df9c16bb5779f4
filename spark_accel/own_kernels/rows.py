"""A user's kernel on columns of Spark: which inputs columns are, which types, and the rows of a partition through it.

A column of numbers is a tensor [rows], one of arrays, all of one length, [rows, length]; a kernel gets the rows of an
Arrow batch at a time. Making a Column of it is `functions.py`'s; which board a task has is `task_board.py`'s.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from spark_accel import client, settings, task_board
from spark_accel.errors import ModelError
from spark_accel.own_kernels import calls
from spark_accel.own_kernels.definition import Definition, Tensor

# Spark's type and Arrow's, by the protocol's datatype. Spark has no unsigned ones: the next wider one holds them.
_TYPES: Mapping[str, tuple[str, pa.DataType]] = {
    "BOOL": ("boolean", pa.bool_()),
    "INT8": ("tinyint", pa.int8()),
    "UINT8": ("smallint", pa.int16()),
    "INT16": ("smallint", pa.int16()),
    "UINT16": ("int", pa.int32()),
    "INT32": ("int", pa.int32()),
    "UINT32": ("bigint", pa.int64()),
    "INT64": ("bigint", pa.int64()),
    "FP32": ("float", pa.float32()),
    "FP64": ("double", pa.float64()),
}

_FLOATS_HOLD = 2.0**53  # whole numbers below


@dataclass(frozen=True)
class Columns:
    """A kernel and what it is called with: inputs that are columns, in their order; `values` are all other arguments.

    Made by `plan`. Several outputs are one struct.
    """

    kernel: Definition
    inputs: tuple[Tensor, ...]
    values: Mapping[str, Any]
    outputs: tuple[Tensor, ...]

    @property
    def input_types(self) -> list[str]:
        """Spark's types of the columns."""
        return [_spark_type(tensor) for tensor in self.inputs]

    @property
    def result_type(self) -> str:
        """Spark's type of what `answer` makes: of several outputs an array of one struct, which may be null."""
        if len(self.outputs) == 1:
            return _spark_type(self.outputs[0])
        fields = ",".join(f"{tensor.name}:{_spark_type(tensor)}" for tensor in self.outputs)
        return f"array<struct<{fields}>>"

    def of_pandas(self, frame: pd.DataFrame) -> pa.StructArray:
        """The columns as Spark 4.0 brings them, for which a NaN is null.

        It makes floats of whole numbers where there is a null: raises ValueError for those that floats don't hold.
        """
        for tensor in self.inputs:
            column = frame[tensor.name]
            if tensor.datatype == "INT64" and column.dtype.kind == "f" and (column.abs() >= _FLOATS_HOLD).any():
                raise ValueError(
                    f"column '{tensor.name}' of kernel '{self.kernel.model}' has nulls and whole numbers of {2**53} or"
                    " more, whose last digits Spark 4.0 loses then: leave out the nulls with where(), or take Spark 4.1"
                )
        arrays = [pa.Array.from_pandas(frame[tensor.name], type=_arrow_type(tensor)) for tensor in self.inputs]
        return pa.StructArray.from_arrays(arrays, names=[tensor.name for tensor in self.inputs])

    def answer(self, batches: Iterator[pa.StructArray], configuration: Mapping[str, str]) -> Iterator[pa.Array]:
        """The outputs for each batch of rows; null for a row with a null. Raises ValueError for arrays that differ.

        Raises AccelError for a board that Spark gave the task and the daemon doesn't drive, if `fallback` is `error`.
        """
        first = next(batches, None)
        if first is None:  # an empty partition needs no kernel
            return
        resolved = settings.from_spark(configuration)
        node = client.shared(resolved)
        self._check_node(node.kernel_definition(self.kernel.model))
        board = task_board.assigned(node, resolved)
        lengths: dict[str, int] = {}
        for batch in itertools.chain([first], batches):
            yield self._batch(node, board, batch, lengths)

    def _check_node(self, there: Definition) -> None:
        ours, theirs = ((one.inputs, one.outputs, one.scalars) for one in (self.kernel, there))
        if ours != theirs:
            raise ModelError(
                f"kernel '{self.kernel.model}' has other inputs, outputs or scalars on this node than where the query"
                " was made: install the same one on all nodes, or load it again where it was replaced"
            )

    def _batch(self, node: client.Client, board: str, batch: pa.StructArray, lengths: dict[str, int]) -> pa.Array:
        fields = batch.flatten()
        whole = np.ones(len(batch), bool)
        for field in fields:
            whole &= _whole(field)
        rows = int(whole.sum())
        if not rows:
            return pa.nulls(len(batch), self._arrow_result)
        if rows < len(batch):
            fields = [field.filter(pa.array(whole)) for field in fields]
        tensors = {
            tensor.name: self._tensor(tensor, field, lengths) for tensor, field in zip(self.inputs, fields, strict=True)
        }
        found = node.run_kernel(self.kernel, {**self.values, **tensors}, device=board)
        result = [_column(tensor, found[tensor.name]) for tensor in self.outputs]
        if len(result) == 1:
            (answer,) = result
        else:
            answer = pa.StructArray.from_arrays(result, names=[tensor.name for tensor in self.outputs])
        if rows < len(batch):
            answer = answer.take(pa.array(np.cumsum(whole) - 1, mask=~whole))
        if len(result) > 1:
            answer = pa.ListArray.from_arrays(pa.array(np.arange(len(batch) + 1, dtype=np.int32)), answer)
        return answer

    @property
    def _arrow_result(self) -> pa.DataType:
        types = [(tensor.name, _arrow_type(tensor)) for tensor in self.outputs]
        return types[0][1] if len(types) == 1 else pa.list_(pa.struct(types))

    def _tensor(self, tensor: Tensor, field: pa.Array, lengths: dict[str, int]) -> npt.NDArray[Any]:
        if len(tensor.dims) == 1:
            values = field.to_numpy(zero_copy_only=False)
        else:
            found = pc.unique(field.value_lengths()).to_pylist()
            found.append(lengths.setdefault(tensor.name, found[0]))
            if len(set(found)) > 1:
                raise ValueError(
                    f"kernel '{self.kernel.model}' takes arrays of one length as '{tensor.name}', and this partition"
                    f" has some of {min(found)} and some of {max(found)} elements"
                )
            values = field.flatten().to_numpy(zero_copy_only=False).reshape(len(field), found[0])
        return calls.array(self.kernel, tensor.name, tensor.datatype, values)


def plan(kernel: Definition, columns: int, output: str | Sequence[str] | None, values: Mapping[str, Any]) -> Columns:
    """How a kernel is called with so many columns and other arguments by name; raises TypeError or ValueError."""
    known = [*(tensor.name for tensor in kernel.inputs), *kernel.parameters]
    for name in values:
        if name not in known:
            raise TypeError(f"kernel '{kernel.model}' has no argument '{name}'; it takes {', '.join(known)}")
    inputs = tuple(tensor for tensor in kernel.inputs if tensor.name not in values)
    if columns != len(inputs) or not columns:
        names = ", ".join(tensor.name for tensor in inputs) or "none is left, and one is needed"
        raise TypeError(
            f"kernel '{kernel.model}' was given {columns} columns, expected {len(inputs)} ({names}): columns come"
            " first, without names; what is named is a scalar, or an array that is the same for all rows"
        )
    calls.arguments(kernel, {**values, **{tensor.name: [] for tensor in inputs}})
    wanted = [output] if isinstance(output, str) else output
    if wanted is not None and len(set(wanted)) != max(1, len(wanted)):
        raise ValueError(
            f"output is {output!r}: expected an output of kernel '{kernel.model}', or several different ones"
        )
    outputs = kernel.outputs if wanted is None else tuple(_output(kernel, name) for name in wanted)
    rows = inputs[0].shape[0].name
    for tensor in (*inputs, *outputs):
        if not rows or tensor.shape[0].name != rows or tensor.dims[0] != -1 or len(tensor.dims) > 2:
            shape = ", ".join(size.text for size in tensor.shape)
            raise ValueError(
                f"'{tensor.name}[{shape}]' of kernel '{kernel.model}' can't be a column: its first size must be the"
                f" same name as that of all columns, '{rows or 'rows'}', of any number, with at most one size more"
            )
        _spark_type(tensor)
    return Columns(kernel, inputs, dict(values), outputs)


def _output(kernel: Definition, name: str) -> Tensor:
    for tensor in kernel.outputs:
        if tensor.name == name:
            return tensor
    there = ", ".join(tensor.name for tensor in kernel.outputs)
    raise ValueError(f"kernel '{kernel.model}' has no output '{name}'; it has {there}")


def _spark_type(tensor: Tensor) -> str:
    if tensor.datatype not in _TYPES:
        raise ValueError(
            f"'{tensor.name}' is {tensor.datatype}, for which Spark has no type; it has {', '.join(_TYPES)}"
        )
    element, _ = _TYPES[tensor.datatype]
    return element if len(tensor.dims) == 1 else f"array<{element}>"


def _arrow_type(tensor: Tensor) -> pa.DataType:
    _, element = _TYPES[tensor.datatype]
    return element if len(tensor.dims) == 1 else pa.list_(element)


def _whole(field: pa.Array) -> npt.NDArray[np.bool_]:
    """Which rows are not null, nor arrays with a null."""
    whole: npt.NDArray[np.bool_] = np.asarray(field.is_valid())
    if pa.types.is_list(field.type) and field.flatten().null_count:
        holes = np.asarray(pc.list_parent_indices(field))[np.asarray(field.flatten().is_null())]
        whole = whole.copy()
        whole[holes] = False
    return whole


def _column(tensor: Tensor, values: npt.NDArray[Any]) -> pa.Array:
    _, element = _TYPES[tensor.datatype]
    flat = pa.array(values.reshape(-1), type=element)
    if values.ndim == 1:
        return flat
    offsets = np.arange(len(values) + 1, dtype=np.int64) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)
