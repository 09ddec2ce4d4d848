"""What is no image that can be read: damaged, cut off, too large or small, not there; and with which words it is told."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import Bytes, encoded, off, picture, refusal
from PIL import Image
from small_set import ROOT

from infer.images import ImageError, grey


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


@pytest.mark.parametrize(("kind", "bits"), [(1, 8), (2, 4)])
def test_runs_of_pixels_that_are_slow_to_decode(kind: int, bits: int) -> None:
    """Run-length coded BMP is decoded in Python: 80 bytes took seconds in which nobody else was answered."""
    sizes = struct.pack("<IiiHHIIiiII", 40, 4_000_000, 4, 1, bits, kind, 2, 0, 0, 2, 0)
    data = struct.pack("<2sIHHI", b"BM", 64, 0, 0, 62) + sizes + bytes(8) + b"\0\1"
    assert "is a run-length coded BMP; save it plainly, or as PNG" in refusal(data)


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
