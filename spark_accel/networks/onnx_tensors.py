"""Reads ONNX files, their tensors and attributes, trusting nothing that they say; `onnx_reader.py` maps operators."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from spark_accel.errors import ModelError

Array = npt.NDArray[np.generic]
Float32 = npt.NDArray[np.float32]

_MAX_FILE = 2**31  # a protobuf message can't be larger
_MAX_TENSOR = 2**31
_Value = TypeVar("_Value")


def load_model(path: Path) -> onnx.ModelProto:
    """The model without external data. Raises ModelError, naming the file, if it is no ONNX model."""
    try:
        size = path.stat().st_size
        if size >= _MAX_FILE:
            raise ModelError(f"{path} has {size} bytes; an ONNX file has less than {_MAX_FILE}")
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise ModelError(f"{path} can't be read: {error.strerror or error}") from error
    except Exception as error:  # protobuf's DecodeError, which its Python and C++ parts define each for itself
        raise ModelError(f"{path} is not an ONNX file: {error}") from error
    if not model.graph.node:
        raise ModelError(f"{path} is not an ONNX file with a graph")
    return model


def array(tensor: onnx.TensorProto, folder: Path) -> Array:
    """A tensor's values. Data outside the file is read only from plain files inside of `folder`."""
    try:
        dims = [int(side) for side in tensor.dims]
        if any(side < 0 for side in dims) or np.prod(dims, dtype=float) > _MAX_TENSOR:
            raise ModelError(f"tensor '{tensor.name}' would have the shape {dims}")
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _check_location(tensor, folder)
        return np.asarray(numpy_helper.to_array(tensor, base_dir=str(folder)))
    except (ValueError, TypeError, OSError, KeyError, onnx.checker.ValidationError) as error:  # KeyError: of what type
        raise ModelError(f"tensor '{tensor.name}' can't be read: {error}") from error


def float_array(name: str, values: Array) -> Float32:
    """`values` as float32; raises ModelError for integers, strings and the like."""
    if values.dtype.kind != "f" and values.dtype.name != "bfloat16":
        raise ModelError(f"tensor '{name}' has the type {values.dtype}, expected floats")
    return np.asarray(values, np.float32)


class Attributes:
    """A node's attributes with their types checked; ModelError names the node."""

    def __init__(self, node: onnx.NodeProto) -> None:
        self._label = f"{node.op_type} node '{node.name or node.output[0]}'"
        self._values = {attribute.name: attribute for attribute in node.attribute}

    def integer(self, name: str, default: int) -> int:
        """An integer."""
        return self._read(name, onnx.AttributeProto.INT, lambda found: int(found.i), default)

    def real(self, name: str, default: float) -> float:
        """A float."""
        return self._read(name, onnx.AttributeProto.FLOAT, lambda found: float(found.f), default)

    def text(self, name: str, default: str) -> str:
        """A string."""
        kind = onnx.AttributeProto.STRING
        return self._read(name, kind, lambda found: bytes(found.s).decode("utf-8", "replace"), default)

    def integers(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """A list of integers."""
        return self._read(name, onnx.AttributeProto.INTS, lambda found: tuple(int(one) for one in found.ints), default)

    def tensor(self, name: str) -> onnx.TensorProto | None:
        """A tensor, None if the attribute is absent."""
        return self._read(name, onnx.AttributeProto.TENSOR, lambda found: found.t, None)

    def _read(self, name: str, kind: int, get: Callable[[onnx.AttributeProto], _Value], default: _Value) -> _Value:
        found = self._values.get(name)
        if found is None:
            return default
        if found.type != kind:
            raise ModelError(f"{self._label}: attribute '{name}' has a wrong type")
        return get(found)


def _check_location(tensor: onnx.TensorProto, folder: Path) -> None:
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    pure = PurePosixPath(location)
    root = folder.resolve()
    if not location or pure.is_absolute() or ".." in pure.parts:
        raise ModelError(f"tensor '{tensor.name}' lies in '{location}', outside of the model's folder {root}")
    file = (root / location).resolve()
    if not file.is_relative_to(root):
        raise ModelError(f"tensor '{tensor.name}' lies in '{location}', outside of the model's folder {root}")
    if not file.is_file():
        raise ModelError(f"tensor '{tensor.name}' lies in '{location}', which is no file in {root}")
