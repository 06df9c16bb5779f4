"""Turns what users have (encoded files, Spark's `image` structs, arrays) into the pixels that a network takes.

The geometry is torchvision's: the shorter side is scaled to `resize` (bilinear, antialiased), the centre is cut out.
What normalisation and channel order a network wants is part of the network, not of this file. Choices made here:

- The EXIF orientation is ignored, as Keras and torchvision ignore it: networks were trained that way. A TIFF's own is
  applied, as there: Pillow does so.
- Transparency is laid over white, as a viewer shows it; the colours hidden under it are arbitrary.
- 16-bit grey is cut to its high byte; an animation gives its first frame; CMYK is converted without a colour profile.
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from spark_accel.errors import DecodeError

UInt8 = npt.NDArray[np.uint8]

MAX_PIXELS = 89_478_485
"""The most pixels that are decoded: Pillow's own limit, 256 MiB of RGB.

A JPEG counts as it is at its reduced scale, save one in several scans (a progressive one): libjpeg keeps its
coefficients, 6 bytes for each pixel of its full size. Of more than twice as many at its full size Pillow opens none.
"""

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")  # not those that call other programs (EPS)
_GREY_STEPS = {"L;2": 85, "L;4": 17}  # in 8 bits, by Pillow's names for PNG's grey of few bits
_PIECE = 2048  # pixels, either side
_CHANNELS_OF_MODE = {0: 1, 16: 3, 24: 4}  # OpenCV's CV_8UC1, CV_8UC3, CV_8UC4, the only ones that Spark writes


def decode(data: bytes | memoryview, height: int, width: int, resize: int, out: UInt8 | None = None) -> UInt8:
    """Decodes a JPEG, PNG, GIF, BMP, WebP, TIFF or PPM file to uint8 RGB [height, width, 3], in `out` if given.

    `resize` is what the shorter side is scaled to before the centre is cut out; at least `height` and `width`.
    Raises DecodeError, saying why, for everything that is not a whole image.
    """
    if not len(data):
        raise DecodeError("it is empty")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.format in ("JPEG", "MPO"):
                if _too_large(image.width, image.height) and _in_several_scans(image, data):
                    _check_size(image.width, image.height)
                # libjpeg decodes at 1/2, 1/4 or 1/8, here never below twice what is wanted: down to just what is wanted
                # cost 1 to 3 of 216 photographs their right class, down to twice cost none.
                image.draft(None, (2 * resize, 2 * resize))
            _check_size(image.width, image.height)
            _scale_transparent_colour(image)
            image.load()
            return _fit(image, height, width, resize, out)
    except (DecodeError, MemoryError):
        raise
    except UnidentifiedImageError:
        start = bytes(data[:8]).hex(" ")
        raise DecodeError(f"no image format that is known: {len(data)} bytes that start with {start}") from None
    except Exception as error:  # Pillow's decoders raise all kinds for broken files: OSError, SyntaxError, IndexError …
        raise DecodeError(str(error) or type(error).__name__) from error


def fit_array(pixels: UInt8, height: int, width: int, resize: int, out: UInt8 | None = None) -> UInt8:
    """An RGB array [any height, any width, 3] as uint8 [height, width, 3], in `out` if given.

    An array that has the wanted size already is taken as it is: somebody has prepared it. Any other is scaled and cut
    as `decode` does. Raises DecodeError for another shape or dtype.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise DecodeError(f"an array of {pixels.dtype} {list(pixels.shape)}, expected uint8 [height, width, 3]")
    if pixels.shape[:2] == (height, width):
        if out is None:
            return np.ascontiguousarray(pixels)
        out[...] = pixels
        return out
    _check_size(pixels.shape[1], pixels.shape[0])
    return _fit(Image.fromarray(np.ascontiguousarray(pixels)), height, width, resize, out)


def fit_struct(image: Mapping[str, Any], height: int, width: int, resize: int, out: UInt8 | None = None) -> UInt8:
    """A value of Spark's `image` type (fields height, width, nChannels, mode, data: BGR rows) as `decode` gives it.

    Raises DecodeError for what Spark itself could not read (mode -1), and for fields that contradict each other.
    """
    rows, columns, channels, mode = (image[name] for name in ("height", "width", "nChannels", "mode"))
    data = image["data"]
    if mode == -1:
        raise DecodeError("Spark's image source could not read the file (mode -1)")
    if None in (rows, columns, channels, mode) or data is None:
        raise DecodeError("an image struct with a field that is null")
    if _CHANNELS_OF_MODE.get(mode) != channels:
        raise DecodeError(f"an image struct of mode {mode} with {channels} channels, expected 0/1, 16/3 or 24/4")
    if min(rows, columns) <= 0 or rows * columns * channels != len(data):
        raise DecodeError(f"an image struct of {rows} x {columns} x {channels} with {len(data)} bytes of data")
    _check_size(columns, rows)
    pixels = np.frombuffer(data, np.uint8).reshape(rows, columns, channels)
    if channels == 1:
        picture = Image.fromarray(pixels[:, :, 0])
    else:
        order = [2, 1, 0] if channels == 3 else [2, 1, 0, 3]
        picture = Image.fromarray(np.ascontiguousarray(pixels[:, :, order]))
    return _fit(picture, height, width, resize, out)


def _in_several_scans(image: Image.Image, data: bytes | memoryview) -> bool:
    """Whether a JPEG is progressive, or its first scan lacks some of its components (or can't be found)."""
    if "progressive" in image.info:
        return True
    position = 2
    while position + 4 < len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xDA:  # the start of a scan
            return data[position + 4] != len(image.getbands())
        # 0xFF is a byte of padding
        position += 1 if marker == 0xFF else 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return True


def _too_large(width: int, height: int) -> bool:
    return width * height > MAX_PIXELS


def _check_size(width: int, height: int) -> None:
    if _too_large(width, height):
        raise DecodeError(f"{width} x {height} pixels are more than the {MAX_PIXELS} that are decoded")


def _fit(image: Image.Image, height: int, width: int, resize: int, out: UInt8 | None) -> UInt8:
    if resize < max(height, width):
        raise ValueError(f"the shorter side is scaled to {resize}, less than the crop of {height} x {width}")
    image = _without_palette_and_alpha(image)
    short = min(image.size)
    scaled_width, scaled_height = (resize * side // short for side in image.size)
    left, top = round((scaled_width - width) / 2), round((scaled_height - height) / 2)
    across, down = image.width / scaled_width, image.height / scaled_height
    # Scaling just the part that is kept gives the pixels of scaling the whole: the filter sees beyond the box.
    box = (
        left * across,
        top * down,
        min((left + width) * across, image.width),
        min((top + height) * down, image.height),
    )
    fitted = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    pixels = np.asarray(fitted if fitted.mode == "RGB" else fitted.convert("RGB"))
    if out is None:
        return pixels.copy()
    out[...] = pixels
    return out


def _without_palette_and_alpha(image: Image.Image) -> Image.Image:
    """The image in a mode whose pixels may be averaged: RGB or L."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # grey of 16 bits
        values = np.asarray(image)
        grey = (values >> 8).astype(np.uint8)
        grey[values == image.info.get("transparency", -1)] = 255
        return Image.fromarray(grey)
    if image.has_transparency_data:
        return _over_white(image)
    if image.mode in ("RGB", "L"):
        return image
    if image.mode in ("I", "F"):
        raise DecodeError(f"pixels of 32 bits (mode {image.mode}), whose range nothing tells")
    return image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    """The image as RGB, its transparency laid over white, piece by piece: each of the steps makes a copy."""
    laid = Image.new("RGB", image.size)
    for top in range(0, image.height, _PIECE):
        for left in range(0, image.width, _PIECE):
            box = (left, top, min(left + _PIECE, image.width), min(top + _PIECE, image.height))
            piece = image.crop(box).convert("RGBA")
            white = Image.new("RGBA", piece.size, "white")
            laid.paste(Image.alpha_composite(white, piece).convert("RGB"), box)
    return laid


def _scale_transparent_colour(image: ImageFile.ImageFile) -> None:
    """Pillow reads a PNG's pixels into 8 bits, and the colour that is transparent as the file has it."""
    colour = image.info.get("transparency")
    raw = image.tile[0][3] if image.format == "PNG" and image.tile else None
    if raw in _GREY_STEPS and isinstance(colour, int):
        image.info["transparency"] = colour * _GREY_STEPS[raw]
    elif raw == "RGB;16B" and isinstance(colour, tuple):
        image.info["transparency"] = tuple(part >> 8 for part in colour)
