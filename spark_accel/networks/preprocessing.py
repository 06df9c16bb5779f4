"""What networks were trained to see: normalisation and channel order, under Keras' own names for the three usual ones.

    value[channel] = pixel[order[channel]] * scale[channel] + shift[channel]        (pixel: uint8 RGB)

`fold.py` makes this a part of the first convolution, so that devices take the pixels as they are.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from spark_accel.errors import ModelError

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Preprocessing:
    """See the file's head. `order` says which of R, G, B each channel of the network is."""

    order: tuple[int, int, int]
    scale: tuple[float, float, float]
    shift: tuple[float, float, float]

    def apply(self, images: npt.NDArray[np.uint8]) -> Float32:
        """What the original network takes, float32 [n, height, width, 3], for uint8 RGB images of the same shape."""
        pixels = images[..., list(self.order)].astype(np.float32)
        return pixels * np.array(self.scale, np.float32) + np.array(self.shift, np.float32)

    @property
    def mean(self) -> Float32:
        """The pixel, RGB, that becomes 0: what stands around an image where the network pads with zeros."""
        pixel = np.zeros(3, np.float32)
        pixel[list(self.order)] = -np.array(self.shift) / np.array(self.scale)
        return pixel


def _torch() -> Preprocessing:
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    scale = tuple(1 / (255 * one) for one in deviation)
    shift = tuple(-one / other for one, other in zip(mean, deviation, strict=True))
    return Preprocessing((0, 1, 2), (scale[0], scale[1], scale[2]), (shift[0], shift[1], shift[2]))


PREPROCESSINGS: Final = {
    "torch": _torch(),
    "caffe": Preprocessing((2, 1, 0), (1, 1, 1), (-103.939, -116.779, -123.68)),
    "tf": Preprocessing((0, 1, 2), (1 / 127.5, 1 / 127.5, 1 / 127.5), (-1, -1, -1)),
    "none": Preprocessing((0, 1, 2), (1, 1, 1), (0, 0, 0)),
}


def preprocessing(name: str) -> Preprocessing:
    """The preprocessing of that name; raises ModelError, listing the names, for another one."""
    if name not in PREPROCESSINGS:
        raise ModelError(f"preprocessing '{name}' is unknown; known are {', '.join(PREPROCESSINGS)}")
    return PREPROCESSINGS[name]


def default_resize(side: int) -> int:
    """What the shorter side of an image is scaled to before the centre is cut out: 256 for 224, as all four have it."""
    return round(side * 256 / 224)
