"""Glyphs of one font face as grey bitmaps, unhinted, drawn by FreeType.

    python -m tools.preview --rows font -o sheet.png

Hinting is off: it would bend strokes to one pixel grid, which print never shows, and it costs five times as much.
An outline is read once, in font units, and scaled for each size, so that several sizes of a glyph share the decoding.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import freetype
import freetype.raw as ft
import numpy as np
import numpy.typing as npt

from gen.errors import UserError

_LOAD = ft.FT_LOAD_NO_SCALE | ft.FT_LOAD_NO_HINTING | ft.FT_LOAD_NO_BITMAP
_POINT = ctypes.sizeof(ft.FT_Vector)
_VARIABLE = 1 << 8  # FT_FACE_FLAG_MULTIPLE_MASTERS
_SCALABLE = 1  # FT_FACE_FLAG_SCALABLE


def freetype_version() -> str:
    """The version of the FreeType library that draws, such as ``2.13.2``."""
    return ".".join(str(part) for part in freetype.version())


class Face:
    """One face of a font file, opened for outlines.

    Raises `UserError` when the file is missing, is no font, has no such face, no outlines, or no such variation axis.
    """

    def __init__(self, path: Path, index: int = 0, axes: Mapping[str, float] | None = None) -> None:
        self.path = path
        if not path.is_file():
            raise UserError(f"font file {path} does not exist: name an existing TTF, OTF or TTC file")
        if path.stat().st_size == 0:
            raise UserError(f"font file {path} is empty: fetch it again or leave it out")
        try:
            self._owner = freetype.Face(str(path), index)
        except freetype.FT_Exception as error:
            raise UserError(f"{path} (face {index}) cannot be opened as a font ({error}): leave it out") from None
        self._face: Any = self._owner._FT_Face
        if not self._owner.face_flags & _SCALABLE:
            raise UserError(f"{path} (face {index}) has bitmaps only, no outlines: choose a scalable font")
        self.units = int(self._owner.units_per_EM)
        self.ascender = self._owner.ascender / self.units  # em, as the font states it; fonts disagree on what it means
        self._set_axes(axes or {})
        self._library: Any = freetype.get_handle()
        self._buffer: npt.NDArray[np.uint8] = np.zeros(1 << 16, np.uint8)
        self._bitmap: Any = ft.FT_Bitmap()
        self._bitmap.pixel_mode, self._bitmap.num_grays = ft.FT_PIXEL_MODE_GRAY, 256
        self._notdef = self._outline(0) if self._load(0) else b""

    def _set_axes(self, axes: Mapping[str, float]) -> None:
        if not axes:
            return
        info = self._owner.get_variation_info() if self._owner.face_flags & _VARIABLE else None
        known = {axis.tag: axis for axis in info.axes} if info else {}
        for tag, value in axes.items():
            if tag not in known:
                has = ", ".join(known) or "none"
                raise UserError(f"{self.path} has no variation axis {tag!r} (it has: {has})")
            low, high = known[tag].minimum, known[tag].maximum
            if not low <= value <= high:
                raise UserError(
                    f"{self.path}: {tag}={value:g} is outside the axis, which goes from {low:g} to {high:g}"
                )
        self._owner.set_var_design_coords([axes.get(tag, axis.default) for tag, axis in known.items()])

    def glyph_id(self, codepoint: int) -> int:
        """The glyph for a code point, 0 when the font's cmap has none."""
        return int(ft.FT_Get_Char_Index(self._face, codepoint))

    def _load(self, glyph: int) -> bool:
        return int(ft.FT_Load_Glyph(self._face, glyph, _LOAD)) == 0

    def _outline(self, glyph: int) -> bytes:
        """The points of the loaded glyph in font units, as bytes; empty when it has no contour."""
        outline = self._face.contents.glyph.contents.outline
        return ctypes.string_at(outline.points, outline.n_points * _POINT) if outline.n_contours else b""

    def covered(self, text: Iterable[str]) -> list[bool]:
        """For each character: has the cmap a glyph, with an outline, that is not the one drawn for missing characters?

        Raises `UserError` when more than one in a hundred glyphs that the cmap names cannot be read.
        """
        found, named, broken = [], 0, 0
        for char in text:
            glyph = self.glyph_id(ord(char))
            ok = False
            if glyph:
                named += 1
                if self._load(glyph):
                    outline = self._outline(glyph)
                    ok = bool(outline) and outline != self._notdef
                else:
                    broken += 1
            found.append(ok)
        if broken * 100 > named:
            raise UserError(
                f"font file {self.path} is damaged: {broken} of {named} glyphs cannot be read; fetch it again"
            )
        return found

    def advance(self, glyph: int) -> float:
        """Horizontal advance in em."""
        return self._face.contents.glyph.contents.metrics.horiAdvance / self.units if self._load(glyph) else 0.0

    def bitmaps(self, glyph: int, sizes: Sequence[int]) -> list[tuple[npt.NDArray[np.uint8], int, int]]:
        """The glyph at each size (pixels per em): coverage uint8 [h, w], then left and top.

        ``left`` is the first column's distance from the pen, ``top`` the first row's height above the baseline, in
        whole pixels. The pen stands on a whole pixel, so a given glyph always has the same bitmap. A glyph without
        ink gives [0, 0] arrays.
        """
        empty = np.zeros((0, 0), np.uint8), 0, 0
        if not self._load(glyph) or not (points := self._outline(glyph)):
            return [empty for _ in sizes]
        outline = self._face.contents.glyph.contents.outline
        box, result = ft.FT_BBox(), []
        for size in sizes:
            ctypes.memmove(outline.points, points, len(points))
            scale = round(size * 64 * 65536 / self.units)
            ft.FT_Outline_Transform(ctypes.byref(outline), ctypes.byref(ft.FT_Matrix(scale, 0, 0, scale)))
            ft.FT_Outline_Get_CBox(ctypes.byref(outline), ctypes.byref(box))
            left, bottom = box.xMin >> 6, box.yMin >> 6
            width, height = ((box.xMax + 63) >> 6) - left, ((box.yMax + 63) >> 6) - bottom
            if width <= 0 or height <= 0:
                result.append(empty)
                continue
            ft.FT_Outline_Translate(ctypes.byref(outline), -left * 64, -bottom * 64)
            result.append((self._draw(outline, width, height), left, bottom + height))
        return result

    def _draw(self, outline: Any, width: int, height: int) -> npt.NDArray[np.uint8]:
        area = width * height
        if area > len(self._buffer):
            self._buffer = np.zeros(area, np.uint8)
        self._buffer[:area] = 0
        self._bitmap.width, self._bitmap.rows, self._bitmap.pitch = width, height, width
        self._bitmap.buffer = self._buffer.ctypes.data_as(ctypes.POINTER(ctypes.c_ubyte))
        error = ft.FT_Outline_Get_Bitmap(self._library, ctypes.byref(outline), ctypes.byref(self._bitmap))
        if error:
            raise UserError(f"FreeType cannot draw a glyph of {self.path} (error {error}): leave the font out")
        drawn: npt.NDArray[np.uint8] = self._buffer[:area].reshape(height, width).copy()
        return drawn
