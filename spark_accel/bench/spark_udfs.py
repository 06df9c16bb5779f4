"""What users write themselves to classify JPEG bytes in Spark: UDFs that decode with Pillow and run a network.

Each gives the index of the first class. A Python worker loads its network once and runs it on one thread, as there are
as many workers as cores.
"""

import io
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql.pandas.functions import pandas_udf
from pyspark.sql.types import IntegerType

BATCH = 32
_SIDE, _RESIZE = 224, 256
UInt8 = npt.NDArray[np.uint8]


def openvino_udf(model: str) -> Any:  # noqa: ANN401 - what pandas_udf gives
    """`model` is the path of an OpenVINO network in int8 that takes uint8 [n, 224, 224, 3]."""
    return _on_series(lambda: _openvino(model))


def tensorflow_udf() -> Any:  # noqa: ANN401
    """Keras' ResNet50 in float32."""
    return _on_series(_tensorflow)


def tensorflow_batch_udf() -> Any:  # noqa: ANN401
    """The same, by the function that Spark has for this."""

    def make() -> Callable[[Any], UInt8]:
        network = _tensorflow()
        return lambda cells: network(np.stack([_decode(cell) for cell in cells]))

    return predict_batch_udf(make, return_type=IntegerType(), batch_size=BATCH)


def _on_series(load: Callable[[], Callable[[UInt8], Any]]) -> Any:  # noqa: ANN401
    def classify(cells: Iterator[pd.Series]) -> Iterator[pd.Series]:
        network = load()
        images: list[UInt8] = []
        for cell in chain.from_iterable(cells):  # however Spark cuts the rows, the network gets full batches
            images.append(_decode(cell))
            if len(images) == BATCH:
                yield pd.Series(network(np.stack(images)))
                images.clear()
        if images:
            yield pd.Series(network(np.stack(images)))

    return cast(Any, pandas_udf)(classify, IntegerType())  # its stubs want a number


def _decode(cell: bytes) -> UInt8:
    """As torchvision does it: the shorter side to 256, bilinear, and the centre of 224 x 224."""
    image = Image.open(io.BytesIO(cell)).convert("RGB")
    width, height = (round(_RESIZE * side / min(image.size)) for side in image.size)
    left, top = (width - _SIDE) // 2, (height - _SIDE) // 2
    scaled = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(scaled.crop((left, top, left + _SIDE, top + _SIDE)))


@cache
def _openvino(model: str) -> Callable[[UInt8], Any]:
    import openvino as ov  # noqa: PLC0415 - of the worker only

    core = ov.Core()
    # It pins its thread to the first core by default: so would all workers theirs.
    core.set_property("CPU", {"INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False})
    network = core.read_model(model)
    network.reshape([BATCH, _SIDE, _SIDE, 3])
    request = core.compile_model(network, "CPU", {"PERFORMANCE_HINT": "LATENCY"}).create_infer_request()

    def run(images: UInt8) -> Any:  # noqa: ANN401
        full = np.concatenate([images, np.repeat(images[-1:], BATCH - len(images), axis=0)])
        return request.infer([full], share_inputs=True)[0][: len(images)].argmax(axis=1).astype(np.int32)

    return run


@cache
def _tensorflow() -> Callable[[UInt8], Any]:
    import tensorflow as tf  # noqa: PLC0415 - of the worker only

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    network = tf.keras.applications.ResNet50(weights=None)
    run = tf.function(lambda images: network(images, training=False))

    def classes(images: UInt8) -> Any:  # noqa: ANN401
        pixels = tf.keras.applications.resnet50.preprocess_input(images.astype(np.float32))
        return run(tf.constant(pixels)).numpy().argmax(axis=1).astype(np.int32)

    return classes
