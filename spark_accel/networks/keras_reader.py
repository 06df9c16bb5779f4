"""Keras models as float graphs: `keras.applications.ResNet50/101/152`, and others made of the same layers.

Keras is needed for the import only. Where no backend is chosen and TensorFlow is not installed, JAX is used.
"""

import importlib.util
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from spark_accel.errors import ModelError
from spark_accel.networks import graph
from spark_accel.networks.graph import Graph, GraphBuilder, Padding

Float32 = npt.NDArray[np.float32]
KerasObject = Any  # Keras has no types

APPLICATIONS: Final = {"resnet50": "ResNet50", "resnet101": "ResNet101", "resnet152": "ResNet152"}
_STALL_SECONDS = 30.0


def fetch(name: str) -> tuple[KerasObject, list[tuple[str, str]]]:
    """A model of keras.applications with its ImageNet weights, and (ID, label) of its classes.

    Raises ModelError if the name is unknown, Keras is not installed, or the download fails.
    """
    if name not in APPLICATIONS:
        raise ModelError(f"Keras network '{name}' is unknown; known are {', '.join(APPLICATIONS)}")
    applications = _keras().applications
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_STALL_SECONDS)  # Keras sets none: without a route it would wait for minutes
    try:
        model = getattr(applications, APPLICATIONS[name])(weights="imagenet")
        rows = applications.resnet.decode_predictions(np.eye(1000, dtype=np.float32), top=1)
    except Exception as error:  # Keras raises a bare Exception where a download fails
        raise ModelError(
            f"Keras can't fetch the ImageNet weights of '{name}': {error}; where the network is not reachable, import a"
            " file: `spark-accel model import FILE.onnx --name NAME --calibration DIR --labels FILE`"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return model, [(str(row[0][0]), str(row[0][1])) for row in rows]


def load(path: Path) -> KerasObject:
    """The model in a `.keras` file; code in it is refused. Raises ModelError."""
    keras = _keras()
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # zip, json, HDF5 and Keras' own errors
        raise ModelError(f"{path} is no Keras model that can be loaded: {error}") from error


def read(model: KerasObject) -> Graph:
    """The graph of a Keras model that takes images [n, height, width, 3]; ModelError for what can't be mapped."""
    return _Reader(model).read()


def _keras() -> KerasObject:
    if "KERAS_BACKEND" not in os.environ and importlib.util.find_spec("tensorflow") is None:
        os.environ["KERAS_BACKEND"] = "jax"
    try:
        import keras  # noqa: PLC0415 - slow, and an extra
    except ImportError as error:
        raise ModelError(f"Keras models need the extra 'keras': pip install 'spark-accel[keras]' ({error})") from error
    return keras


class _Reader:
    def __init__(self, model: KerasObject) -> None:
        self._model = model
        self._names: dict[int, str] = {}  # of Keras tensors, by identity
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            raise ModelError(f"model '{model.name}' has {len(model.inputs)} inputs and {len(model.outputs)} outputs")
        shape = tuple(model.inputs[0].shape)
        if len(shape) != 4 or None in shape[1:]:
            raise ModelError(f"model '{model.name}' takes {shape}, expected (None, height, width, 3)")
        self._builder = GraphBuilder("input", (shape[1], shape[2], shape[3]))
        self._names[id(model.inputs[0])] = "input"

    def read(self) -> Graph:
        # A Sequential's layers may belong to several graphs, of which their own input and output name only the first.
        chain, last = type(self._model).__name__ == "Sequential", "input"
        for layer in self._model.layers:
            kind = type(layer).__name__
            if kind == "InputLayer":
                continue
            if getattr(layer, "data_format", "channels_last") != "channels_last":
                raise ModelError(f"layer '{layer.name}' is channels_first; only channels_last is mapped")
            mapping = _MAPPINGS.get(kind)
            if mapping is None:
                raise ModelError(f"layer type '{kind}' (layer '{layer.name}') can't be mapped to the device")
            last = mapping(self, layer, layer.get_config(), [last] if chain else self._inputs(layer))
            if not chain:
                self._names[id(layer.output)] = last
        return self._builder.graph(last if chain else self._names[id(self._model.outputs[0])])

    def _inputs(self, layer: KerasObject) -> list[str]:
        try:
            given = layer.input
        except AttributeError as error:
            raise ModelError(f"layer '{layer.name}' is not connected to anything") from error
        tensors = given if isinstance(given, list) else [given]
        if any(id(tensor) not in self._names for tensor in tensors):
            raise ModelError(
                f"layer '{layer.name}' is used more than once, or in more than one model: it can't be mapped"
            )
        return [self._names[id(tensor)] for tensor in tensors]

    def _conv(self, layer: KerasObject, config: Mapping[str, Any], inputs: list[str]) -> str:
        if config["groups"] != 1 or tuple(config["dilation_rate"]) != (1, 1):
            raise ModelError(f"Conv2D layer '{layer.name}' has groups or dilation, which are not mapped")
        weights = _array(layer.kernel).transpose(3, 0, 1, 2)
        bias = _array(layer.bias) if config["use_bias"] else np.zeros(len(weights), np.float32)
        kernel, stride = tuple(config["kernel_size"]), tuple(config["strides"])
        padding = self._padding(inputs[0], config["padding"], kernel, stride)
        name = f"{layer.name}:linear"
        self._builder.add(
            graph.Convolution(layer.name, inputs[0], name, np.ascontiguousarray(weights), bias, stride, padding)
        )
        return self._activation(layer, config, [name])

    def _padding(self, value: str, padding: str, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Padding:
        if padding == "valid":
            return 0, 0, 0, 0
        sizes = self._builder.shapes[value][:2]
        total = [
            max(0, (-(-size // step) - 1) * step + side - size)
            for size, step, side in zip(sizes, stride, kernel, strict=True)
        ]
        return total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2

    def _batch_norm(self, layer: KerasObject, config: Mapping[str, Any], inputs: list[str]) -> str:
        mean, variance = _array(layer.moving_mean), _array(layer.moving_variance)
        gamma = _array(layer.gamma) if config["scale"] else np.ones_like(mean)
        beta = _array(layer.beta) if config["center"] else np.zeros_like(mean)
        with np.errstate(all="ignore"):  # the builder refuses infinity and NaN, with the layer's name
            scale = gamma / np.sqrt(variance + np.float32(config["epsilon"]))
            shift = beta - mean * scale
        return self._builder.add(graph.Affine(layer.name, inputs[0], layer.name, scale, shift))

    def _activation(self, layer: KerasObject, config: Mapping[str, Any], inputs: list[str]) -> str:
        """The layer's activation; a softmax is left out if it is the network's last step."""
        name = config.get("activation", "relu")
        if name == "linear":
            return inputs[0]
        if name == "softmax" and layer is self._model.layers[-1]:
            return inputs[0]
        if name != "relu" or any(config.get(key) for key in ("max_value", "negative_slope", "threshold")):
            raise ModelError(f"activation '{name}' (layer '{layer.name}') can't be mapped to the device")
        return self._builder.add(graph.Relu(layer.name, inputs[0], layer.name))

    def _softmax(self, layer: KerasObject, config: Mapping[str, Any], inputs: list[str]) -> str:
        return self._activation(layer, {**config, "activation": "softmax"}, inputs)

    def _add(self, layer: KerasObject, _: Mapping[str, Any], inputs: list[str]) -> str:
        if len(inputs) != 2:
            raise ModelError(f"Add layer '{layer.name}' adds {len(inputs)} values, expected 2")
        return self._builder.add(graph.Add(layer.name, inputs[0], inputs[1], layer.name))

    def _zero_padding(self, layer: KerasObject, config: Mapping[str, Any], inputs: list[str]) -> str:
        (top, bottom), (left, right) = config["padding"]
        return self._builder.add(graph.Pad(layer.name, inputs[0], layer.name, (top, left, bottom, right)))

    def _max_pool(self, layer: KerasObject, config: Mapping[str, Any], inputs: list[str]) -> str:
        kernel, stride = tuple(config["pool_size"]), tuple(config["strides"])
        padding = self._padding(inputs[0], config["padding"], kernel, stride)
        return self._builder.add(graph.MaxPool(layer.name, inputs[0], layer.name, kernel, stride, padding))

    def _average_pool(self, layer: KerasObject, _: Mapping[str, Any], inputs: list[str]) -> str:
        return self._builder.add(graph.GlobalAveragePool(layer.name, inputs[0], layer.name))

    def _flatten(self, layer: KerasObject, _: Mapping[str, Any], inputs: list[str]) -> str:
        if self._builder.shapes[inputs[0]][:2] != (1, 1):
            raise ModelError(
                f"Flatten layer '{layer.name}' works on more than one position; only pooled ones are mapped"
            )
        return inputs[0]

    def _dropout(self, _layer: KerasObject, _: Mapping[str, Any], inputs: list[str]) -> str:
        return inputs[0]

    def _dense(self, layer: KerasObject, config: Mapping[str, Any], inputs: list[str]) -> str:
        weights = np.ascontiguousarray(_array(layer.kernel).T)
        bias = _array(layer.bias) if config["use_bias"] else np.zeros(len(weights), np.float32)
        name = f"{layer.name}:linear"
        self._builder.add(graph.Dense(layer.name, inputs[0], name, weights, bias))
        return self._activation(layer, config, [name])


def _array(variable: KerasObject) -> Float32:
    return np.asarray(variable.numpy(), np.float32)


_MAPPINGS: dict[str, Callable[[_Reader, KerasObject, Mapping[str, Any], list[str]], str]] = {
    "Conv2D": _Reader._conv,
    "BatchNormalization": _Reader._batch_norm,
    "Activation": _Reader._activation,
    "ReLU": _Reader._activation,
    "Softmax": _Reader._softmax,
    "Add": _Reader._add,
    "ZeroPadding2D": _Reader._zero_padding,
    "MaxPooling2D": _Reader._max_pool,
    "GlobalAveragePooling2D": _Reader._average_pool,
    "Flatten": _Reader._flatten,
    "Dropout": _Reader._dropout,
    "Dense": _Reader._dense,
}
