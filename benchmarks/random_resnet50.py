"""A quantised network with the layers of Keras' ResNet50 and random weights: good for measuring speed only."""

import numpy as np

from spark_accel.networks.plan import (
    INPUT,
    Convolution,
    Dense,
    GlobalAveragePool,
    Layer,
    MaxPool,
    Plan,
    output_shape,
    validate,
)

_STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))  # blocks, inner channels


def random_resnet50(seed: int = 0) -> Plan:
    """ResNet50 v1 for 224 x 224 images and 1000 classes, 3.9 GMAC an image: a stage's first block strides in its first
    convolution, as Keras' does."""
    layers = _Layers(np.random.default_rng(seed))
    layers.add_convolution(INPUT, "stem", 64, 7, 2)
    layers.add(MaxPool("pool", "stem", "pool", (3, 3), (2, 2), (1, 1, 1, 1)))
    x = "pool"
    for stage, (blocks, inner) in enumerate(_STAGES):
        for block in range(blocks):
            name, stride = f"{stage}.{block}", 2 if stage and not block else 1
            shortcut = x if block else layers.add_convolution(x, f"{name}.shortcut", 4 * inner, 1, stride)
            y = layers.add_convolution(x, f"{name}.a", inner, 1, stride)
            y = layers.add_convolution(y, f"{name}.b", inner, 3, 1)
            x = layers.add_convolution(y, f"{name}.c", 4 * inner, 1, 1, residual=shortcut)
    layers.add(GlobalAveragePool("average", x, "average", np.full(2048, 1 / 49, np.float32)))
    plan = Plan(224, 224, (*layers.all, layers.dense("average", 2048, 1000)))
    validate(plan)
    return plan


class _Layers:
    def __init__(self, rng: np.random.Generator) -> None:
        self.all: list[Layer] = []
        self._rng = rng
        self._shapes = {INPUT: (224, 224, 3)}

    def add(self, layer: Convolution | MaxPool | GlobalAveragePool) -> str:
        self.all.append(layer)
        self._shapes[layer.output] = output_shape(layer, self._shapes[layer.input])
        return layer.output

    def add_convolution(
        self, x: str, output: str, out: int, side: int, stride: int, *, residual: str | None = None
    ) -> str:
        channels = self._shapes[x][2]
        terms = side * side * channels
        return self.add(
            Convolution(
                name=output,
                input=x,
                output=output,
                stride=(stride, stride),
                padding=(side // 2,) * 4,
                weights=self._rng.integers(-127, 128, (out, side, side, channels), np.int8),
                bias=np.zeros(out, np.int32),
                multiplier=np.full(out, 0.025 / np.sqrt(terms), np.float32),
                zero_point=np.zeros(out, np.uint8),
                pad_value=np.zeros(channels, np.uint8),
                residual=residual,
                residual_multiplier=None if residual is None else np.full(out, int(20 * np.sqrt(terms)), np.int32),
            )
        )

    def dense(self, x: str, channels: int, classes: int) -> Dense:
        weights = self._rng.integers(-127, 128, (classes, channels), np.int8)
        return Dense("logits", x, "logits", weights, np.zeros(classes, np.int32), np.full(classes, 1e-4, np.float32))
