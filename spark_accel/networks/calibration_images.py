"""The photographs that a network is calibrated on, prepared as the daemon's clients prepare them."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from spark_accel.errors import DecodeError, ModelError
from spark_accel.images import decode

UInt8 = npt.NDArray[np.uint8]

MOST = 64
_ENDINGS = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"))
PHOTOGRAPHS = Path(__file__).resolve().parents[1] / "photographs"  # those that the package brings


def read(folder: Path, side: tuple[int, int], resize: int) -> UInt8:
    """At most 64 images of a folder and those in it, uint8 RGB [n, height, width, 3]; `side` is (height, width).

    Of more than 64, sorted by path, 64 at even distances are taken: folders often have a class each. Fewer are used in
    several cuts and mirrored, so that the range of each activation is seen often enough.
    Raises ModelError if there is none, or for a file that can't be decoded.
    """
    if not folder.is_dir():
        raise ModelError(f"calibration folder {folder} does not exist; it has to hold a few dozen typical images")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS and path.is_file())
    if not files:
        raise ModelError(f"calibration folder {folder} has no images ({', '.join(sorted(_ENDINGS))})")
    chosen = [files[index * len(files) // MOST] for index in range(MOST)] if len(files) > MOST else files
    views = min(_VIEWS, MOST // len(chosen))
    return np.stack([view for path in chosen for view in _views(path, side, resize, views)])


_VIEWS = 8


def _views(path: Path, side: tuple[int, int], resize: int, count: int) -> list[UInt8]:
    """`count` cuts of one image: the centre, its mirror image, and those of images that are scaled differently."""
    try:
        data = path.read_bytes()
        views = [decode(data, *side, resize)]
        for index in range(1, count):
            larger = resize + (index // 2) * resize // 6
            view = views[0] if index == 1 else decode(data, *side, larger)
            views.append(view[:, ::-1] if index % 2 else view)
    except (OSError, DecodeError) as error:
        raise ModelError(f"calibration image {path} can't be used: {error}") from error
    return views
