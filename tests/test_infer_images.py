"""Images of every kind to grey pixels: modes, files, arrays, and what is refused, with which words."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms
from small_set import ROOT

from infer.images import ImageError, grey

Bytes = NDArray[np.uint8]


def picture(height: int = 24, width: int = 60) -> Bytes:
    """Paper with ink at the top left: what is turned or mirrored looks different."""
    pixels = np.full((height, width), 230, np.uint8)
    pixels[2 : height // 3, 3 : width // 4] = 20
    return pixels


def encoded(image: Image.Image | NDArray[Any], kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def off(found: Bytes, expected: NDArray[Any]) -> int:
    """The largest difference, in grey levels."""
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert found.shape == expected.shape
    return int(np.abs(found.astype(int) - expected).max())


def refusal(image: Any, **options: Any) -> str:
    with pytest.raises(ImageError) as caught:
        grey(image, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((8, 8), np.int64), "int64"), (np.zeros((8, 8), np.uint32), "uint32"), (np.zeros((8, 8), complex), "complex"),
        (np.zeros((8, 8), object), "object"), (np.zeros((8, 8), "U1"), "<U1"), (np.full((8, 8), 1.5), "0 to 1"),
        (np.full((8, 8), -0.1), "0 to 1"), (np.zeros(64, np.uint8), "(64,)"), (np.zeros((2, 8, 8, 3), np.uint8), "(2, 8, 8, 3)"),
        (np.zeros((8, 8, 2), np.uint8), "(8, 8, 2)"), (np.zeros((0, 9), np.uint8), "9x0 px"), (np.zeros((8, 0, 3), np.uint8), "0x8 px"),
        (np.zeros((3, 100), np.uint8), "100x3 px"), (np.zeros((100, 3, 4), np.uint8), "3x100 px"), (np.uint8(3), "uint8 is no image"),
        (None, "NoneType is no image"), ([[1, 2]], "list is no image"), (io.BytesIO(b"x"), "give a path, bytes"),
    ],
)  # fmt: skip
def test_what_is_no_image(array: Any, words: str) -> None:
    assert words in refusal(array)


def test_sizes() -> None:
    assert off(grey(encoded(np.full((4, 4), 9, np.uint8), "PNG")), np.full((4, 4), 9)) == 0
    assert "100x3 px; a line has at least 4 px" in refusal(encoded(np.zeros((3, 100), np.uint8), "PNG"))
    assert "3x100 px" in refusal(Image.new("L", (3, 100)))
    assert "0x100 px" in refusal(Image.new("L", (0, 100)))
    assert "is 20x21 px, more than the 419 allowed; cut out the line" in refusal(
        Image.new("L", (20, 21)), most_pixels=419
    )
    assert grey(Image.new("L", (20, 21)), most_pixels=420).shape == (21, 20)
    assert grey(encoded(Image.new("L", (50_000, 1000), 200), "PNG")).shape == (1000, 50_000)  # exactly what is allowed
    assert "allowed" in refusal(encoded(Image.new("L", (50_001, 1000)), "PNG"))


def header(kind: str, width: int, height: int) -> bytes:
    """A small file that says it is that large: a tiny one, with other numbers in its header."""
    data = bytearray(encoded(np.zeros((4, 4), np.uint8), kind))
    if kind == "PNG":
        data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    elif kind == "BMP":
        data[18:26] = width.to_bytes(4, "little") + height.to_bytes(4, "little")
    elif kind == "GIF":
        data[6:10] = width.to_bytes(2, "little") + height.to_bytes(2, "little")
    elif kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    elif kind == "PPM":
        data = bytearray(b"P5 %d %d 255 " % (width, height))
    return bytes(data)


BOMBS = ("PNG", "BMP", "GIF", "JPEG", "PPM")


@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.parametrize("size", [(50_000, 50_000), (10_000, 10_000), (8_000, 8_000)])
def test_more_pixels_than_a_file_can_mean(kind: str, size: tuple[int, int]) -> None:
    """Beyond what Pillow opens at all, beyond what it warns of, and beyond what is allowed here."""
    assert "cut out the line" in refusal(header(kind, *size))


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    for kind in BOMBS:
        (tmp_path / kind).write_bytes(header(kind, 50_000, 50_000))
    code = """
import resource, sys
from infer.images import ImageError, grey
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        grey(path)
    except ImageError as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-c", code, *(str(tmp_path / kind) for kind in BOMBS)]
    *refused, grown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(refused) == len(BOMBS)
    assert int(grown) < 30_000  # KB; the pixels would be 2,500,000


def tiled(pixels: Bytes, width: int, height: int) -> bytes:
    """A TIFF file of one tile that says it is that large."""
    data = zlib.compress(pixels.tobytes())
    sides = (256, pixels.shape[1]), (257, pixels.shape[0]), (322, width), (323, height)
    entries = {**dict(sides), 258: 8, 259: 8, 262: 1, 277: 1, 324: 8, 325: len(data)}
    table = b"".join(struct.pack("<HHII", tag, 4, 1, entries[tag]) for tag in sorted(entries))
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(entries)) + table + bytes(4)


def test_tiles_far_larger_than_their_image() -> None:
    """They would be decoded whole: gigabytes, in seconds, from a file of a megabyte."""
    pixels = picture(32, 64)
    assert off(grey(tiled(pixels, 64, 32)), pixels) == 0
    assert "tiles of 40000x40000 px, more than the 50,000,000 allowed" in refusal(tiled(pixels, 40_000, 40_000))
    assert "allowed" in refusal(tiled(pixels, 64, 32), most_pixels=2047)


def test_a_picture_drawn_thousands_of_times() -> None:
    """A scan of a progressive JPEG file takes 30 bytes, and the time that all of its pixels take."""
    data = encoded(picture(), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    assert data.count(b"\xff\xda") > 3
    assert off(grey(data), picture()) < 60
    assert grey(data[:-2] + 200 * scan + data[-2:]).shape == picture().shape
    assert "more than 256 scans" in refusal(data[:-2] + 300 * scan + data[-2:])


def test_what_is_not_there_or_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.png") == f"{tmp_path / 'a.png'}: cannot be read: No such file or directory"
    assert refusal(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"
    assert "null byte" in refusal("a\0b.png")
    assert "No such file" in refusal("")
    assert "too long" in refusal("a" * 5000)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "symbolic links" in refusal(tmp_path / "loop")


def test_files_that_are_no_images(tmp_path: Path) -> None:
    for data, words in (
        (b"", "is empty, 0 bytes"),
        (b"hello\n" * 50, "no image of a known format"),
        (b"\0" * 99, "no image"),
    ):
        path = tmp_path / "a.png"
        path.write_bytes(data)
        assert words in refusal(data)
        assert refusal(path).startswith(f"{path}: ")
        assert words in refusal(path)


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(encoded(picture(), "PNG"),))
    writer.start()
    assert off(grey(pipe), picture()) == 0
    writer.join()


KINDS = {"PNG": {}, "JPEG": {}, "GIF": {}, "WEBP": {}, "BMP": {}, "TIFF": {"compression": "tiff_lzw"}, "JPEG2000": {}}


@pytest.mark.parametrize("kind", KINDS)
def test_files_cut_short(kind: str, tmp_path: Path) -> None:
    data = encoded(np.random.default_rng(0).integers(0, 256, (24, 60), np.uint8), kind, **KINDS[kind])
    path = tmp_path / "a"
    path.write_bytes(data[: len(data) * 3 // 4])
    assert "cut off" in refusal(path.read_bytes())
    assert "cut off" in refusal(path)
    if kind in ("PNG", "JPEG", "BMP"):  # the others are refused when they are opened
        with Image.open(path) as image:
            assert "cut off" in refusal(image)


SOUND = {kind: encoded(picture(), kind, **options) for kind, options in KINDS.items()}


@settings(max_examples=300)
@given(
    st.sampled_from(sorted(SOUND)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
    st.floats(0, 1),
)
def test_damaged_files_give_pixels_or_are_refused(kind: str, changes: list[tuple[float, int]], end: float) -> None:
    data = bytearray(SOUND[kind])
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    try:
        found = grey(bytes(data[: int(end * len(data)) if end < 0.5 else len(data)]), most_pixels=100_000)
    except ImageError:
        return
    assert found.dtype == np.uint8
    assert 16 <= found.size <= 100_000


def test_a_closed_image() -> None:
    image = Image.open(io.BytesIO(encoded(picture(), "PNG")))
    image.close()
    assert "closed" in refusal(image)
