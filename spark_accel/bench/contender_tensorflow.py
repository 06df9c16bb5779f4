"""TensorFlow's float32: Keras' ResNet50 (v1), with ImageNet's weights where Keras has fetched them already."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from spark_accel.bench.contender import Contender, Float32, Job, UInt8
from spark_accel.networks.preprocessing import preprocessing

_WEIGHTS = Path("~/.keras/models/resnet50_weights_tf_dim_ordering_tf_kernels.h5")


class TensorFlow(Contender):
    """See the file's head."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._fetched = _WEIGHTS.expanduser().is_file()
        tf.config.threading.set_intra_op_parallelism_threads(job.threads)
        tf.config.threading.set_inter_op_parallelism_threads(job.threads)
        network = tf.keras.applications.ResNet50(weights="imagenet" if self._fetched else None)
        self._run = tf.function(lambda images: network(images, training=False))
        self._images: Any = None

    @property
    def about(self) -> str:
        """See Contender."""
        weights = "ImageNet weights" if self._fetched else "random weights: its top-1 means nothing"
        return f"Keras' ResNet50 v1 (3.9 GMAC an image), {weights}; images as float32, normalised beforehand"

    def prepare(self, batch: int) -> None:
        """Nothing: the first answer compiles."""

    def put(self, images: UInt8) -> None:
        """See Contender."""
        self._images = tf.constant(preprocessing("caffe").apply(images))

    def answer(self) -> Float32:
        """See Contender."""
        return np.asarray(self._run(self._images).numpy())

    def classes(self, images: UInt8, batch: int = 8) -> list[int]:
        """None where the weights are random."""
        return super().classes(images, batch) if self._fetched else []
