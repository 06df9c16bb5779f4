"""`ResNet50` with the calls of `keras.applications.resnet50`, run by the node daemon, with the answers of `predict`.

It takes RGB pixels from 0 to 255: normalisation is part of the network, so `preprocess_input` only checks and rounds.
Settings come from the environment (`SPARK_ACCEL_*`). Neither Keras nor TensorFlow is imported.
"""

import itertools
from collections.abc import Iterable, Iterator, Sized
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from spark_accel import client, imagenet, pipeline, settings
from spark_accel.client import Client
from spark_accel.network_facts import NetworkFacts

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Batch = npt.ArrayLike | tuple[npt.ArrayLike, ...]  # images; or images and what Keras has beside them in training


class ResNet50:
    """A classifier that the model repository has; `weights` is its name there, or `imagenet` for Keras' own weights.

    Raises ModelError where it is neither in the repository nor can be fetched.
    """

    def __init__(self, weights: str = "imagenet") -> None:
        self._client, self._network = _open(weights)

    def predict(
        self,
        x: npt.ArrayLike | Iterable[Batch],
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
    ) -> Float32:
        """Softmax probabilities, float32 [n, classes], in the order of `x`.

        `x` is an array [n, height, width, 3] of RGB pixels from 0 to 255 (uint8 or float) in the network's size; or a
        `keras.utils.Sequence` or `PyDataset`, or an iterable, of such arrays or of tuples that start with one. `steps`
        ends an iterable after so many batches; one without an end needs it. `batch_size` is for arrays, at most
        the network's own largest batch, which is the default. `verbose`: 1 shows a progress bar, 0 does not, `auto`
        does on a terminal. Raises ValueError for other shapes, and for pixels that have been centred or scaled already.
        """
        network = self._network
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, expected 1 or more")
        limit = min(batch_size or network.max_batch, network.max_batch)
        if isinstance(x, (list, tuple)) or hasattr(x, "__array__"):
            x = np.asarray(x)
            if x.shape != (0,):  # of an empty list
                self._check_shape(x)
        batches, total = _batches(x, limit)
        if steps is not None:
            batches, total = itertools.islice(batches, steps), steps
        shown = tqdm(batches, total=total, unit="batch", disable={0: True, "auto": None}.get(verbose, False))
        pieces = (part for batch in shown for part in _parts(self._checked(batch), limit))
        found = [np.zeros((0, network.classes), np.float32)]
        for _, classes in pipeline.classify(self._client, network, network.classes, pieces, _write):
            if classes is not None:
                probabilities = np.empty_like(classes.score)
                np.put_along_axis(probabilities, classes.index.astype(np.int64), classes.score, axis=1)
                found.append(probabilities)
        return np.concatenate(found)

    def _checked(self, batch: npt.ArrayLike) -> UInt8:
        pixels = np.asarray(batch)
        self._check_shape(pixels)
        return preprocess_input(pixels)

    def _check_shape(self, pixels: npt.NDArray[Any]) -> None:
        expected = (self._network.height, self._network.width, 3)
        if pixels.ndim != 4 or pixels.shape[1:] != expected:
            raise ValueError(f"model '{self._network.name}' takes arrays {['n', *expected]}, not {list(pixels.shape)}")


def preprocess_input(x: npt.ArrayLike) -> UInt8:
    """RGB pixels from 0 to 255, of any shape, as uint8: rounded, not centred, for the network does that itself.

    Raises ValueError for pixels below 0 or above 255, as Keras' own `preprocess_input` makes them, and for fractions
    between 0 and 1.
    """
    pixels = np.asarray(x)
    if pixels.dtype == np.uint8 or not pixels.size:
        return np.asarray(pixels, np.uint8)
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 255):
        raise ValueError(
            f"pixels from {low:g} to {high:g}, expected RGB from 0 to 255: give the images as they were loaded, or "
            "after spark_accel's preprocess_input; Keras' own has centred these"
        )
    if pixels.dtype.kind == "f" and 0 < high <= 1:
        raise ValueError(f"pixels from {low:g} to {high:g}, expected 0 to 255: multiply by 255 what was scaled to 1")
    return np.asarray(np.rint(pixels), np.uint8)


def decode_predictions(
    preds: npt.ArrayLike, top: int = 5, model: str | ResNet50 = "imagenet"
) -> list[list[tuple[str, str, float]]]:
    """The `top` best classes of each row of `predict`'s answer, best first: [[(id, label, score), …], …].

    `model` says whose classes they are, where they are not ImageNet's: decode_predictions(p, model=model). Raises
    ValueError where it has another number, and for a `top` below 1.
    """
    if top < 1:
        raise ValueError(f"top is {top}, expected 1 or more")
    network = model._network if isinstance(model, ResNet50) else _open(model)[1]
    scores = np.asarray(preds)
    if scores.ndim != 2 or scores.shape[1] != network.classes:
        raise ValueError(
            f"predictions of model '{network.name}' are [n, {network.classes}], not {list(scores.shape)}: "
            "give decode_predictions the model that made them"
        )
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [
        [(network.ids[index], network.labels[index], float(scores[row, index])) for index in indices]
        for row, indices in enumerate(best)
    ]


def _open(weights: str) -> tuple[Client, NetworkFacts]:
    if not isinstance(weights, str):
        raise ValueError(
            f"weights are {weights!r}: expected 'imagenet' or a model of the repository; there are no others"
        )
    configuration = settings.from_environment()
    node = client.shared(configuration)
    return node, imagenet.network(node, configuration, imagenet.NAME if weights == "imagenet" else weights)


def _batches(x: npt.ArrayLike | Iterable[Batch], batch_size: int) -> tuple[Iterator[npt.ArrayLike], int | None]:
    """The batches of `x`, and how many, where that is known."""
    if isinstance(x, np.ndarray):
        return _parts(x, batch_size), -(-len(x) // batch_size)
    if isinstance(x, Sized) and hasattr(x, "__getitem__"):  # keras.utils.Sequence, PyDataset
        return (_images(x[number]) for number in range(len(x))), len(x)
    if isinstance(x, Iterable):
        return map(_images, x), None
    raise TypeError(f"predict takes arrays, Keras sequences and generators of images, not {type(x).__name__}")


def _images(batch: Batch) -> npt.ArrayLike:
    return batch[0] if isinstance(batch, tuple) else batch


def _parts(images: npt.NDArray[Any], size: int) -> Iterator[npt.NDArray[Any]]:
    return (images[start : start + size] for start in range(0, len(images), size))


def _write(batch: UInt8, pixels: UInt8) -> tuple[None, int]:
    pixels[: len(batch)] = batch
    return None, len(batch)
