"""Images of every kind to grey pixels: modes, files, arrays, turned, transparent and moving ones."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import encoded, off, picture, refusal
from PIL import Image, ImageCms

from infer.images import grey


def in_mode(mode: str) -> Image.Image:
    """The picture as a Pillow image of that mode, without loss."""
    plain = Image.fromarray(picture())
    if mode == "1":
        return Image.fromarray(picture() > 128)
    if mode.startswith("I;16"):
        return Image.frombytes(
            mode, plain.size, (picture() * np.uint16(257)).astype(">u2" if "B" in mode else "<u2").tobytes()
        )
    if mode == "LAB":
        there = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        found = ImageCms.applyTransform(plain.convert("RGB"), there)
        assert found is not None
        return found
    via = {"PA": "LA", "RGBa": "RGBA", "HSV": "RGB"}
    return plain.convert(via[mode]).convert(mode) if mode in via else plain.convert(mode)


MODES = (
    "L",
    "LA",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBX",
    "RGBa",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "F",
    "I;16",
    "I;16L",
    "I;16B",
)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_pillow(mode: str) -> None:
    image = in_mode(mode)
    before = image.tobytes()
    assert off(grey(image), picture()) <= 1
    assert image.mode == mode
    assert image.tobytes() == before


def test_one_bit() -> None:
    expected = np.where(picture() > 128, 255, 0)
    for image in (
        in_mode("1"),
        encoded(in_mode("1"), "PNG"),
        encoded(in_mode("1"), "TIFF", compression="group4"),
        picture() > 128,
    ):
        assert off(grey(image), expected) == 0


FILES = {
    "png": ("L", "PNG", {}), "colour png": ("RGB", "PNG", {}), "palette png": ("P", "PNG", {}), "16 bit png": ("I;16", "PNG", {}),
    "bmp": ("RGB", "BMP", {}), "gif": ("P", "GIF", {}), "webp": ("RGB", "WEBP", {"lossless": True}), "tiff": ("L", "TIFF", {}),
    "16 bit tiff": ("I;16", "TIFF", {}), "16 bit big-endian tiff": ("I;16B", "TIFF", {}), "float tiff": ("F", "TIFF", {}),
    "lzw tiff": ("RGB", "TIFF", {"compression": "tiff_lzw"}), "cmyk tiff": ("CMYK", "TIFF", {}), "lab tiff": ("LAB", "TIFF", {}),
    "pgm": ("L", "PPM", {}), "jp2": ("L", "JPEG2000", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_files_without_loss(name: str, tmp_path: Path) -> None:
    mode, kind, options = FILES[name]
    data = encoded(in_mode(mode), kind, **options)
    path = tmp_path / "a"  # the contents count, not the name
    path.write_bytes(data)
    with os.scandir(os.fsencode(tmp_path)) as entries:
        entry = next(entries)  # a path of bytes
    for image in (data, bytearray(data), memoryview(data), path, str(path), entry):
        assert off(grey(image), picture()) <= 1


@pytest.mark.parametrize(("mode", "kind"), [("L", "JPEG"), ("RGB", "JPEG"), ("CMYK", "JPEG"), ("RGB", "WEBP")])
def test_files_with_loss(mode: str, kind: str) -> None:
    found = grey(encoded(in_mode(mode), kind, quality=95)).astype(int)
    assert np.abs(found - picture()).mean() < 4


@pytest.mark.parametrize("factor", [1.0, 1 / 255, 257.0, -3.0])
def test_floats_of_any_range(factor: float) -> None:
    """0 to 1, to 255 and to 65535 are what they are; others are stretched."""
    whole = picture().astype(np.float32)
    whole[0, :2] = 0, 255
    expected = 255 - whole if factor < 0 else whole
    assert off(grey(encoded(whole * np.float32(factor), "TIFF")), expected) <= 1


def test_floats_that_are_no_numbers() -> None:
    for value in (np.nan, np.inf, -np.inf):
        pixels = picture().astype(np.float32)
        pixels[3, 3] = value
        assert "no numbers" in refusal(Image.fromarray(pixels))
        assert "0 to 1" in refusal(pixels / 255)


TURNED = {
    1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
    5: np.transpose, 6: np.rot90, 7: lambda a: np.rot90(a, 2).T, 8: lambda a: np.rot90(a, -1),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", TURNED)
def test_exif_orientation(kind: str, orientation: int) -> None:
    """What a camera held that way writes shows the picture upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}, "JPEG": {"quality": 100}}[kind]
    stored = np.ascontiguousarray(TURNED[orientation](picture(24, 64)))  # type: ignore[no-untyped-call]
    data = encoded(stored, kind, exif=exif, **options)
    assert off(grey(data), picture(24, 64)) <= 5
    with Image.open(io.BytesIO(data)) as image:
        assert off(grey(image), picture(24, 64)) <= 5


def test_sixteen_bits_are_turned_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(np.ascontiguousarray(np.rot90(picture())) * np.uint16(257)), "PNG", exif=exif)
    assert off(grey(data), picture()) == 0


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # Pillow's
def test_a_damaged_exif_tag_says_nothing() -> None:
    for exif in (
        b"Exif\x00\x00nonsense",
        b"Exif\x00\x00MM\x00*\xff\xff\xff\xff",
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff",
    ):
        assert grey(encoded(picture(), "JPEG", exif=exif)).shape == picture().shape


@pytest.mark.parametrize("ink", [0, 255, 120])
@pytest.mark.parametrize("kind", ["RGBA", "LA", "array", "palette"])
def test_ink_on_nothing(ink: int, kind: str) -> None:
    """It is on white paper, unless it is white itself."""
    drawn = picture() < 128
    pixels = np.dstack([np.full((*drawn.shape, 3), ink, np.uint8), np.where(drawn, 255, 0)]).astype(np.uint8)
    image: Any = pixels if kind == "array" else Image.fromarray(pixels)
    if kind == "LA":
        image = encoded(image.convert("LA"), "PNG")
    elif kind == "palette":
        image = Image.fromarray(np.where(drawn, 1, 0).astype(np.uint8)).convert("P")
        image.putpalette([7, 7, 7, ink, ink, ink])
        image = encoded(image, "PNG", transparency=0)
    assert off(grey(image), np.where(drawn, ink, 0 if ink == 255 else 255)) <= 1


def test_half_transparent_ink_and_nothing_at_all() -> None:
    pixels = np.zeros((8, 9, 4), np.uint8)
    assert off(grey(pixels), np.full((8, 9), 255)) == 0
    pixels[..., 3] = 51
    assert off(grey(pixels), np.full((8, 9), 204)) == 0


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.fromarray(picture()), Image.fromarray(255 - picture())]
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    assert off(grey(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)), picture()) <= 1


ARRAYS = {
    "grey": lambda a: a,
    "one channel": lambda a: a[..., None],
    "colour": lambda a: np.dstack([a] * 3),
    "opaque": lambda a: np.dstack([a, a, a, np.full_like(a, 255)]),
    "uint16": lambda a: a.astype("<u2") * 257,
    "uint16, big-endian": lambda a: a.astype(">u2") * 257,
    "float16": lambda a: (a / 255).astype(np.float16),
    "float32": lambda a: (a / 255).astype(np.float32),
    "float64, big-endian": lambda a: (a / 255).astype(">f8"),
    "colour of floats": lambda a: np.dstack([a / 255] * 3),
}
LAYOUTS = {
    "as it is": lambda a: a,
    "by columns": np.asfortranarray,
    "every other": lambda a: np.repeat(np.repeat(a, 2, 0), 2, 1)[::2, ::2],
    "backwards": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name: str, layout: str) -> None:
    array = LAYOUTS[layout](ARRAYS[name](picture()))
    before = array.copy()
    assert off(grey(array), picture()) <= 1
    assert np.array_equal(array, before)


def test_colour_is_in_the_order_red_green_blue() -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    assert grey(red)[0, 0] == 76  # ITU-R 601: 0.299 of it
    assert grey(encoded(red, "PNG"))[0, 0] == 76


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(encoded(picture(), "PNG"),))
    writer.start()
    assert off(grey(pipe), picture()) == 0
    writer.join()
