"""Anything that shows a line, as grey pixels: files, bytes, Pillow images, arrays.

python -c "from infer.images import grey; print(grey('line.png').shape)"
"""

from __future__ import annotations

import io
import os
import threading
from contextlib import nullcontext, suppress
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from gen.errors import UserError

ImageLike: TypeAlias = "str | os.PathLike[Any] | bytes | bytearray | memoryview | Image.Image | NDArray[Any]"
SMALLEST = 4  # px, each side
MOST_PIXELS = 50_000_000
# What Pillow decodes itself; for some others it would start programs. Not QOI, which it decodes at 2 us a byte.
FORMATS = {"AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP"}
SCAN, SCANS = b"\xff\xda", 256  # of a JPEG file; cameras and tools make up to 20, and 30 bytes can be one of 16M pixels
TILE = (322, 323)  # TIFF's tags for the size of its tiles, which are decoded whole however small the image is
_one_avif = threading.Lock()  # 2 KB of it may hold 256M pixels, whatever the header says: 600 MB while it is decoded
BLANK = 8  # grey levels; what differs by less shows nothing


class ImageError(UserError):
    """What was given is no image that can be read. ``reason`` says why, ``name`` is what it was called, if anything."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(f"{name}: {reason}" if name else reason)
        self.reason, self.name = reason, name


def grey(image: ImageLike, most_pixels: int = MOST_PIXELS) -> NDArray[np.uint8]:
    """The image as uint8 [H, W], upright as its EXIF tag says, what is transparent laid on paper.

    Of an animation it is the first frame. Arrays are [H, W] or [H, W, 1, 3 or 4] in the order RGB(A), of bool, uint8,
    uint16, or of floats from 0 to 1. Raises `ImageError`.
    """
    if isinstance(image, np.ndarray):
        pixels = _from_array(np.asarray(image), most_pixels)
    elif isinstance(image, Image.Image):
        pixels = _decoded(image, most_pixels, "")
    elif isinstance(image, (bytes, bytearray, memoryview)):
        pixels = _decoded(io.BytesIO(image), most_pixels, "")
    elif isinstance(image, (str, os.PathLike)):
        name = os.fsdecode(image)
        try:
            file = open(name, "rb")  # noqa: SIM115 (what fails inside is not about the file's name)
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            raise ImageError(f"cannot be read: {getattr(error, 'strerror', None) or error}", name) from None
        with file:
            pixels = _decoded(file, most_pixels, name)
    else:
        raise ImageError(f"{type(image).__name__} is no image: give a path, bytes, a Pillow image or a numpy array")
    return np.ascontiguousarray(pixels)


def check_size(width: int, height: int, most_pixels: int, name: str = "") -> None:
    """Raise `ImageError` for an image that is too small or too large."""
    if min(width, height) < SMALLEST:
        raise ImageError(f"is {width}x{height} px; a line has at least {SMALLEST} px each way", name)
    if width * height > most_pixels:
        raise ImageError(f"is {width}x{height} px, more than the {most_pixels:,} allowed; cut out the line", name)


def _decoded(source: BinaryIO | Image.Image, most_pixels: int, name: str) -> NDArray[np.uint8]:
    try:
        if isinstance(source, Image.Image):
            return _from_pillow(source, most_pixels, name)
        with Image.open(source) as image:
            if image.format not in FORMATS:
                raise UnidentifiedImageError
            _check_work(image, source, most_pixels, name)
            return _from_pillow(image, most_pixels, name)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # the latter where warnings are errors
        raise ImageError("claims too many pixels; cut out the line", name) from None
    except UnidentifiedImageError:
        assert not isinstance(source, Image.Image)
        if source.seekable() and source.seek(0, os.SEEK_END) == 0:
            raise ImageError("is empty, 0 bytes", name) from None
        raise ImageError("is no image of a known format (png, jpg, webp, gif, bmp, tiff …)", name) from None
    except MemoryError:
        raise ImageError("does not fit into memory", name) from None
    except Exception as error:  # damaged files make Pillow raise nearly anything
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ImageError(f"is damaged or cut off: {reason}", name) from None


def _check_work(image: Image.Image, file: BinaryIO, most_pixels: int, name: str) -> None:
    """Raise `ImageError` for a file that takes far more time or memory than its pixels need."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        width, height = (int(image.tag_v2.get(tag, 0)) for tag in TILE)
        if width * height > most_pixels:
            raise ImageError(f"has tiles of {width}x{height} px, more than the {most_pixels:,} allowed", name)
    if any(tile[0] == "bmp_rle" for tile in getattr(image, "tile", ())):  # decoded in Python, 80 bytes for seconds
        raise ImageError("is a run-length coded BMP; save it plainly, or as PNG", name)
    if isinstance(image, JpegImagePlugin.JpegImageFile) and file.seekable():
        file.seek(0)
        if file.read().count(SCAN) > SCANS:
            raise ImageError(f"is drawn in more than {SCANS} scans", name)


def _from_pillow(image: Image.Image, most_pixels: int, name: str) -> NDArray[np.uint8]:
    check_size(*image.size, most_pixels, name)
    with _one_avif if image.format == "AVIF" else nullcontext():
        image.load()
    with suppress(Exception):  # a damaged EXIF tag says nothing
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return _eight_bit(np.asarray(image))
    if image.mode in ("I", "F"):
        return _scaled(np.asarray(image, np.float64), name)
    if image.has_transparency_data:
        return _on_paper(image.convert("RGBA"))
    if image.mode not in ("1", "L", "RGB"):  # few others turn grey at once
        image = image.convert("RGB")
    return np.asarray(image.convert("L"))


def _eight_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(values / np.float32(257)), np.uint8)


def _scaled(values: NDArray[np.float64], name: str) -> NDArray[np.uint8]:
    """Values of an unknown range, which is 0..1, 0..255, 0..65535 or their own."""
    low, top = values.min(), values.max()
    if not np.isfinite([low, top]).all():
        raise ImageError("holds values that are no numbers, or infinite", name)
    if low < 0 or top > 65535:
        values = (values - low) * (255 / max(1e-9, top - low))
    elif top > 255:
        values = values / 257
    elif top <= 1:
        values = values * 255
    return np.rint(values).astype(np.uint8)


def _on_paper(image: Image.Image) -> NDArray[np.uint8]:
    """RGBA laid on white; on black where that shows nothing, as white ink on nothing does."""
    white, black = (
        np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, paper), image).convert("L"))
        for paper in ("white", "black")
    )
    return black if np.ptp(white) < BLANK <= np.ptp(black) else white


def _from_array(array: NDArray[Any], most_pixels: int) -> NDArray[np.uint8]:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(f"the array has the shape {array.shape}: give [H, W] or [H, W, 1, 3 or 4]")
    check_size(array.shape[1], array.shape[0], most_pixels, "the array")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype.kind == "u" and array.dtype.itemsize == 2:  # of either byte order
        array = _eight_bit(array)
    elif array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ImageError("an array of floats must be from 0 to 1")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(f"the array is of {array.dtype}: give bool, uint8, uint16, or floats from 0 to 1")
    if array.ndim == 2 or array.shape[2] == 1:
        return array.reshape(array.shape[:2])
    image = Image.fromarray(np.ascontiguousarray(array))
    return np.asarray(image.convert("L")) if array.shape[2] == 3 else _on_paper(image)
