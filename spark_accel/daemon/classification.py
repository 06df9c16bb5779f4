"""Triton's classification extension: the best values of an output as BYTES `value:index:label`, best first."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from grpc import StatusCode

from spark_accel.daemon import byte_strings
from spark_accel.daemon.datatypes import BYTES
from spark_accel.daemon.request import OutputTensor, RequestError

_DTYPES = {
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"<f{bits // 8}" for bits in (32, 64)},
}
DATATYPES = frozenset(_DTYPES)
_MOST = 2**18  # strings of an answer: while they are made nobody else is served


def classify(output: OutputTensor, count: int, labels: Sequence[str], batches: bool) -> OutputTensor:
    """`output`, whose datatype is one of DATATYPES, as its best `count` classes: of each row, or of all its values.

    Equal values come in the order of their indices, NaN first. Raises RequestError for too many.
    """
    values = np.frombuffer(output.data or b"", dtype=_DTYPES[output.datatype])
    rows = output.shape[0] if batches else 1
    table = values.reshape(rows, values.size // rows if rows else 0)
    best = min(count, table.shape[1])
    if rows * best > _MOST:
        text = (
            f"classification of output '{output.name}' would have {rows * best} strings, and at most {_MOST} are made"
        )
        raise RequestError(StatusCode.INVALID_ARGUMENT, text)
    strings = [text for row in table for text in _best(row, best, labels)]
    shape = (rows, best) if batches else (best,)
    return OutputTensor(output.name, BYTES, shape, byte_strings.serialize(strings))


def _best(row: npt.NDArray[np.generic], count: int, labels: Sequence[str]) -> list[bytes]:
    # A stable ascending sort of the reversed row, read backwards, is descending with ties by the lower index.
    order = row.size - 1 - np.argsort(row[::-1], kind="stable")[::-1][:count]
    return [_string(row[index].item(), int(index), labels) for index in order]


def _string(value: float, index: int, labels: Sequence[str]) -> bytes:
    text = f"{value:f}" if isinstance(value, float) else str(value)
    label = f":{labels[index]}" if index < len(labels) else ""
    return f"{text}:{index}{label}".encode()
