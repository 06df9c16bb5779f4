"""The shapes of ResNet50, 101 and 152 as plans without weights, for predictions: nothing can be computed with them.

Version 1 has a stage's stride in its first 1x1 convolution (He et al. 2015, Keras), 1.5 in the 3x3 (torchvision).
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_accel.networks.plan import INPUT, Convolution, Dense, GlobalAveragePool, Layer, MaxPool, Plan

_SIDE = 224
_CLASSES = 1000
_BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3), "resnet152": (3, 8, 36, 3)}
_V15 = "-v1.5"
NAMES = tuple(name + version for name in _BLOCKS for version in ("", _V15))


@cache
def plan(name: str) -> Plan:
    """One of NAMES, for 224 x 224 images and 1,000 classes."""
    in_first = not name.endswith(_V15)
    layers: list[Layer] = [
        _convolution("conv1", INPUT, 3, 64, 7, 2),
        MaxPool("pool1", "conv1", "pool1", (3, 3), (2, 2), (1, 1, 1, 1)),
    ]
    x, channels = "pool1", 64
    for stage, blocks in enumerate(_BLOCKS[name.removesuffix(_V15)]):
        middle, out = 64 << stage, 256 << stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            where = f"conv{stage + 2}_block{block + 1}"
            shortcut = x
            if not block:
                shortcut = f"{where}_0"
                layers.append(_convolution(shortcut, x, channels, out, 1, stride))
            first, third = (stride, 1) if in_first else (1, stride)
            layers += [
                _convolution(f"{where}_1", x, channels, middle, 1, first),
                _convolution(f"{where}_2", f"{where}_1", middle, middle, 3, third),
                _convolution(f"{where}_3", f"{where}_2", middle, out, 1, residual=shortcut),
            ]
            x, channels = f"{where}_3", out
    layers.append(GlobalAveragePool("average", x, "average", _nothing((channels,), np.float32)))
    weights, bias = _nothing((_CLASSES, channels), np.int8), _nothing((_CLASSES,), np.int32)
    layers.append(Dense("fc", "average", "logits", weights, bias, _nothing((_CLASSES,), np.float32)))
    return Plan(_SIDE, _SIDE, tuple(layers))


def _convolution(  # noqa: PLR0917 - a layer in short
    name: str, source: str, channels: int, out: int, kernel: int, stride: int = 1, *, residual: str | None = None
) -> Convolution:
    around = kernel // 2
    tensors: Mapping[str, npt.NDArray[Any]] = {
        "weights": _nothing((out, kernel, kernel, channels), np.int8),
        "bias": _nothing((out,), np.int32),
        "multiplier": _nothing((out,), np.float32),
        "zero_point": _nothing((out,), np.uint8),
        "pad_value": _nothing((channels,), np.uint8),
    }
    added = None if residual is None else _nothing((out,), np.int32)
    return Convolution(
        name, source, name, (stride, stride), (around,) * 4, residual=residual, residual_multiplier=added, **tensors
    )


def _nothing(shape: tuple[int, ...], dtype: type[np.generic]) -> npt.NDArray[Any]:
    """Zeros that take no memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)
