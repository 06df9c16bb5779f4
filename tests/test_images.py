"""What each kind of image becomes, and why some are refused: `spark_accel.images`."""

import io
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from spark_accel import images
from spark_accel.errors import DecodeError

UInt8 = npt.NDArray[np.uint8]
PHOTOGRAPHS = Path(images.__file__).parent / "photographs"
SIDE, RESIZE = 224, 256


def decode(data: bytes) -> UInt8:
    return images.decode(data, SIDE, SIDE, RESIZE)


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(size: tuple[int, int], bits: int, colours: int, rows: bytes, transparent: bytes = b"") -> bytes:
    """A PNG of any kind, of width and height; each of the rows begins with a byte 0."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, colours, 0, 0, 0))
    extra = chunk(b"tRNS", transparent) if transparent else b""
    data = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + extra + data


def gradient(height: int, width: int) -> UInt8:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows % 256, columns % 256, (rows + columns) % 256], -1).astype(np.uint8)


def by_definition(pixels: UInt8, height: int, width: int, resize: int) -> UInt8:
    """torchvision's Resize and CenterCrop, step by step."""
    rows, columns = pixels.shape[:2]
    if columns <= rows:
        scaled = Image.fromarray(pixels).resize((resize, int(resize * rows / columns)), Image.Resampling.BILINEAR)
    else:
        scaled = Image.fromarray(pixels).resize((int(resize * columns / rows), resize), Image.Resampling.BILINEAR)
    top, left = round((scaled.height - height) / 2), round((scaled.width - width) / 2)
    return np.asarray(scaled)[top : top + height, left : left + width]


def close(one: UInt8, other: UInt8, levels: int = 1) -> bool:
    return bool(np.abs(one.astype(int) - other.astype(int)).max() <= levels)


@given(
    rows=st.integers(1, 90),
    columns=st.integers(1, 90),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    more=st.integers(0, 9),
)
@settings(deadline=None)
def test_scales_and_crops_as_torchvision_does(rows: int, columns: int, height: int, width: int, more: int) -> None:
    pixels = gradient(rows, columns)
    resize = max(height, width) + more

    fitted = images.decode(encode(Image.fromarray(pixels)), height, width, resize)

    assert close(fitted, by_definition(pixels, height, width, resize), 2)  # two passes, each may round a tie elsewhere


def test_a_large_jpeg_decoded_at_reduced_scale_looks_the_same() -> None:
    photograph = Image.open(PHOTOGRAPHS / "astronaut.jpg").resize((2600, 2400))
    data = encode(photograph, "JPEG", quality=95)

    fitted = decode(data)

    full = by_definition(np.asarray(Image.open(io.BytesIO(data))), SIDE, SIDE, RESIZE)
    assert np.abs(fitted.astype(int) - full).mean() < 2


def test_writes_into_the_memory_it_is_given() -> None:
    data = encode(Image.fromarray(gradient(300, 400)))
    region = np.zeros((2, SIDE, SIDE, 3), np.uint8)

    returned = images.decode(data, SIDE, SIDE, RESIZE, out=region[1])

    assert np.shares_memory(returned, region)
    assert np.array_equal(region[1], decode(data))
    assert not region[0].any()


@pytest.mark.parametrize("path", sorted(PHOTOGRAPHS.glob("*.jpg")), ids=lambda path: path.stem)
def test_decodes_the_photographs_of_the_demo(path: Path) -> None:
    assert decode(path.read_bytes()).std() > 5


def test_a_grey_jpeg_has_three_equal_channels() -> None:
    fitted = decode(encode(Image.fromarray(gradient(300, 400)[:, :, 0]), "JPEG"))

    assert np.array_equal(fitted[..., 0], fitted[..., 1])
    assert np.array_equal(fitted[..., 0], fitted[..., 2])


def test_a_cmyk_jpeg_has_its_colours() -> None:
    red = Image.new("RGB", (300, 300), (230, 10, 20))

    fitted = decode(encode(red.convert("CMYK"), "JPEG", quality=95))

    assert close(fitted, np.full_like(fitted, (230, 10, 20)), 12)


def test_a_single_pixel_fills_the_image() -> None:
    fitted = decode(encode(Image.new("RGB", (1, 1), (7, 8, 9))))

    assert np.array_equal(fitted, np.full((SIDE, SIDE, 3), (7, 8, 9), np.uint8))


def test_a_line_of_pixels_is_scaled_without_ever_being_large() -> None:
    assert decode(encode(Image.new("L", (60000, 1), 99))).max() == 99


def test_an_animated_gif_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (300, 300), colour) for colour in ("red", "lime", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)

    fitted = decode(data)

    assert np.array_equal(fitted, np.full_like(fitted, (255, 0, 0)))


def test_16_bit_grey_is_cut_to_its_high_byte() -> None:
    deep = Image.fromarray(np.full((300, 300), 0x80FF, np.uint16))

    assert np.all(decode(encode(deep)) == 0x80)
    assert np.all(decode(encode(deep, "PPM")) == 0x80)


def test_transparent_16_bit_grey_is_white() -> None:
    values = np.full((300, 300), 0x80FF, np.uint16)
    values[:150] = 0x1234

    fitted = decode(encode(Image.fromarray(values), transparency=0x1234))

    assert np.all(fitted[:100] == 255)
    assert np.all(fitted[-100:] == 0x80)


def test_transparency_is_laid_over_white() -> None:
    half = Image.new("RGBA", (300, 300), (255, 0, 0, 128))
    large = Image.new("RGBA", (2500, 4500), (255, 0, 0, 128))
    palette = Image.new("P", (300, 300), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])

    assert close(decode(encode(half)), np.full((SIDE, SIDE, 3), (255, 127, 127), np.uint8))
    assert np.array_equal(decode(encode(large)), decode(encode(half)))
    assert np.all(decode(encode(palette, transparency=1)) == 255)
    assert np.all(decode(encode(palette)) == (10, 20, 30))


@pytest.mark.parametrize(
    ("bits", "colours", "row", "transparent", "other"),
    [
        (2, 0, b"\x55" * 75, b"\0\x01", b"\0\x02"),
        (4, 0, b"\x88" * 150, b"\0\x08", b"\0\x88"),
        (16, 2, bytes([200, 1, 100, 2, 50, 3]) * 300, bytes([200, 1, 100, 2, 50, 3]), bytes([0, 200, 0, 100, 0, 50])),
    ],
)
def test_the_transparent_colour_of_a_png_counts_in_its_own_bits(
    bits: int, colours: int, row: bytes, transparent: bytes, other: bytes
) -> None:
    rows = (b"\0" + row) * 300

    assert np.all(decode(png((300, 300), bits, colours, rows, transparent)) == 255)
    assert np.array_equal(
        decode(png((300, 300), bits, colours, rows, other)), decode(png((300, 300), bits, colours, rows))
    )


def test_the_transparency_of_a_large_image_takes_no_more_than_a_copy_of_it() -> None:
    program = """
import io, resource
from PIL import Image
from spark_accel import images
file = io.BytesIO()
Image.new("RGBA", (6000, 6000), (255, 0, 0, 0)).save(file, "PNG", compress_level=1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB; the image is in it
assert images.decode(file.getvalue(), 224, 224, 256).min() == 255
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / (6000 * 6000 * 4))
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=300)

    assert float(done.stdout) < 2


@pytest.mark.parametrize("mode", ["1", "LA", "YCbCr", "LAB"])
def test_rarer_modes_are_converted(mode: str) -> None:
    format = "PNG" if mode in ("1", "LA") else "TIFF"

    assert decode(encode(Image.new("RGB", (300, 300), "white").convert(mode), format)).min() > 250


def test_the_exif_orientation_is_ignored() -> None:
    image = Image.fromarray(gradient(300, 400))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees

    assert np.array_equal(decode(encode(image, "JPEG", exif=exif)), decode(encode(image, "JPEG")))


def test_the_orientation_of_a_tiff_is_applied() -> None:
    pixels = gradient(SIDE, SIDE)
    upright, turned = (encode(Image.fromarray(pixels), "TIFF", tiffinfo={274: tag}) for tag in (1, 3))

    assert np.array_equal(decode(turned), decode(encode(Image.fromarray(pixels[::-1, ::-1]), "TIFF")))
    assert np.array_equal(decode(upright), decode(encode(Image.fromarray(pixels), "TIFF")))


def test_an_empty_cell_is_refused() -> None:
    with pytest.raises(DecodeError, match="empty"):
        decode(b"")


def test_other_bytes_are_refused_with_how_they_start() -> None:
    with pytest.raises(DecodeError, match=r"no image format.* 9 bytes that start with 25 50 44 46"):
        decode(b"%PDF-1.7\n")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_a_truncated_file_is_refused(format: str) -> None:
    data = encode(Image.fromarray(gradient(300, 400)), format)

    with pytest.raises(DecodeError):
        decode(data[: len(data) // 2])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "PPM"])
@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_damage_is_refused_or_decoded_but_never_anything_else(format: str, data: st.DataObject) -> None:
    file = bytearray(encode(Image.fromarray(gradient(40, 50)), format))
    for position in data.draw(st.lists(st.integers(0, len(file) - 1), min_size=1, max_size=30)):
        file[position] = data.draw(st.integers(0, 255))

    try:
        fitted = images.decode(bytes(file), 16, 16, 20)
    except DecodeError:
        return
    assert fitted.shape == (16, 16, 3)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(DecodeError, match="50000 x 3000 pixels are more than"):
        decode(png((50000, 3000), 8, 2, b"\0"))


def resized_header(jpeg: bytes, start_of_frame: int, width: int, height: int) -> bytes:
    at = jpeg.index(bytes([0xFF, start_of_frame])) + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def in_single_components(jpeg: bytes) -> bytes:
    """The JPEG with a first scan that holds its first component only."""
    at = jpeg.index(b"\xff\xda")
    return jpeg[:at] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + jpeg[at + 14 :]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["progressive", "a scan a component"])
def test_a_jpeg_whose_coefficients_would_fill_the_memory_is_refused_before_it_is_decoded(kind: str) -> None:
    whole = encode(Image.new("RGB", (64, 64), "red"), "JPEG", progressive=kind == "progressive")
    if kind == "progressive":
        bomb = resized_header(whole, 0xC2, 12000, 9000)
    else:
        bomb = in_single_components(resized_header(whole, 0xC0, 12000, 9000))

    with pytest.raises(DecodeError, match="12000 x 9000 pixels are more than"):
        decode(bomb)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_larger_jpeg_is_decoded_where_its_reduced_scale_is_within_the_limit(mode: str) -> None:
    data = resized_header(encode(Image.new(mode, (64, 64), "white"), "JPEG"), 0xC0, 12000, 9000)

    assert decode(data).shape == (SIDE, SIDE, 3)


def test_many_threads_decode_what_one_decodes() -> None:
    files = [path.read_bytes() for path in sorted(PHOTOGRAPHS.glob("*.jpg"))] * 4

    with ThreadPoolExecutor(7) as threads:
        decoded = list(threads.map(decode, files))

    assert all(np.array_equal(one, decode(file)) for one, file in zip(decoded, files, strict=True))


def test_a_format_that_runs_another_program_is_not_tried() -> None:
    with pytest.raises(DecodeError, match="no image format"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")


def test_an_array_of_the_networks_size_is_taken_as_it_is() -> None:
    pixels = gradient(SIDE, SIDE)

    assert np.array_equal(images.fit_array(pixels, SIDE, SIDE, RESIZE), pixels)


def test_an_array_of_another_size_is_scaled_as_a_file_is() -> None:
    pixels = gradient(300, 400)

    assert np.array_equal(images.fit_array(pixels, SIDE, SIDE, RESIZE), decode(encode(Image.fromarray(pixels))))


@pytest.mark.parametrize("shape", [(224, 224), (3, 224, 224), (224, 224, 4), (0, 224, 3)])
def test_an_array_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DecodeError, match="expected uint8"):
        images.fit_array(np.zeros(shape, np.uint8), SIDE, SIDE, RESIZE)


def image_struct(**changes: object) -> dict[str, object]:
    pixels = gradient(300, 400)[:, :, ::-1]
    return {"height": 300, "width": 400, "nChannels": 3, "mode": 16, "data": pixels.tobytes()} | changes


def test_spark_s_image_struct_is_read_as_bgr() -> None:
    fitted = images.fit_struct(image_struct(), SIDE, SIDE, RESIZE)

    assert np.array_equal(fitted, images.fit_array(gradient(300, 400), SIDE, SIDE, RESIZE))


def test_spark_s_grey_and_transparent_structs_are_read() -> None:
    grey = image_struct(nChannels=1, mode=0, data=bytes([50]) * 120000)
    clear = image_struct(nChannels=4, mode=24, data=bytes([1, 2, 3, 0]) * 120000)
    opaque = image_struct(nChannels=4, mode=24, data=bytes([1, 2, 3, 255]) * 120000)

    assert np.all(images.fit_struct(grey, SIDE, SIDE, RESIZE) == 50)
    assert np.all(images.fit_struct(clear, SIDE, SIDE, RESIZE) == 255)
    assert np.all(images.fit_struct(opaque, SIDE, SIDE, RESIZE) == (3, 2, 1))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mode": -1, "height": -1, "width": -1, "nChannels": -1, "data": b""}, "could not read"),
        ({"mode": 5}, "mode 5 with 3 channels"),
        ({"nChannels": 4}, "mode 16 with 4 channels"),
        ({"height": 301}, "301 x 400 x 3 with 360000 bytes"),
        ({"height": 0, "data": b""}, "0 x 400 x 3 with 0 bytes"),
        ({"data": None}, "null"),
        ({"width": None}, "null"),
    ],
)
def test_an_image_struct_that_contradicts_itself_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        images.fit_struct(image_struct(**changes), SIDE, SIDE, RESIZE)
