"""Draw rows of samples as one picture: the contact sheet of ``python -m tools.preview -o sheet.png``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gen.fonts import Font
from gen.raster import Face
from gen.sample import Sample

GROUND, WORDS, RULE = (206, 212, 222), (20, 24, 32), (178, 186, 200)
BOXES = ((214, 39, 40), (31, 119, 180))  # in turn, so that neighbours are told apart
GAP = 6  # px between images, times the scale
NAME_WIDTH = 150
TEXT_SIZE, SMALL = 15, 12


@dataclass(frozen=True)
class Row:
    """A name and the samples that show it."""

    name: str
    horizontal: tuple[Sample, ...]
    vertical: tuple[Sample, ...]


class Writer:
    """Writes words on the sheet, each character in the first of the fonts that has it."""

    def __init__(self, fonts: Sequence[Font]) -> None:
        ordered = sorted(fonts, key=lambda font: "hei" not in font.style)  # plain faces read best when small
        self._faces = [(Face(font.path, font.face, dict(font.axes)), font.path, font.face) for font in ordered]

    def _font(self, char: str, size: int) -> ImageFont.FreeTypeFont:
        for face, path, index in self._faces:
            if face.glyph_id(ord(char)):
                return _opened(path, index, size)
        return _opened(self._faces[0][1], self._faces[0][2], size)

    def width(self, text: str, size: int) -> int:
        """Pixels that a text takes in a row."""
        return round(sum(self._font(char, size).getlength(char) for char in text))

    def write(self, sheet: ImageDraw.ImageDraw, x: float, y: float, text: str, size: int) -> None:
        """Write from left to right; ``y`` is the middle of the line."""
        for char in text:
            font = self._font(char, size)
            sheet.text((x, y), char, fill=WORDS, font=font, anchor="lm")
            x += font.getlength(char)

    def write_down(self, sheet: ImageDraw.ImageDraw, x: float, y: float, text: str, size: int) -> None:
        """Write from top to bottom; ``x`` is the middle of the column."""
        for place, char in enumerate(text):
            sheet.text((x, y + (place + 0.5) * (size + 1)), char, fill=WORDS, font=self._font(char, size), anchor="mm")


@lru_cache(maxsize=256)
def _opened(path: Path, index: int, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size, index=index)


@dataclass(frozen=True)
class Style:
    """How samples are shown: magnified ``scale`` times, with their boxes, with their labels."""

    scale: int = 1
    boxes: bool = False
    labels: bool = False


def picture(sample: Sample, style: Style) -> Image.Image:
    """A sample as it goes on the sheet: each of its pixels a square of ``scale`` pixels, boxes drawn when asked."""
    scale = style.scale
    pixels = np.repeat(np.repeat(sample.pixels, scale, axis=0), scale, axis=1)
    image = Image.fromarray(pixels).convert("RGB")
    if style.boxes:
        pen = ImageDraw.Draw(image)
        for number, (x, y, width, height) in enumerate(sample.boxes.tolist()):
            if width and height:
                corners = (x * scale, y * scale, (x + width) * scale - 1, (y + height) * scale - 1)
                pen.rectangle(corners, outline=BOXES[number % len(BOXES)])
    return image


def block(row: Row, style: Style, writer: Writer) -> Image.Image:
    """One row of the sheet: its name, the horizontal lines one below another, the vertical ones side by side."""
    gap, label = GAP * style.scale, SMALL + 5 if style.labels else 0
    lines = [picture(sample, style) for sample in row.horizontal]
    columns = [picture(sample, style) for sample in row.vertical]
    across = max((image.width for image in lines), default=0)
    if style.labels:
        across = max([across, *(writer.width(sample.text, SMALL) for sample in row.horizontal)])
    longest = max((image.height for image in columns), default=0)
    if style.labels:
        longest = max([longest, *(len(sample.text) * (SMALL + 1) for sample in row.vertical)])
    height = max(sum(image.height + gap + label for image in lines), longest + gap, TEXT_SIZE + gap) + gap
    beside = sum(image.width + gap + label for image in columns)
    sheet = Image.new("RGB", (NAME_WIDTH + across + 3 * gap + beside, height), GROUND)
    pen = ImageDraw.Draw(sheet)
    pen.line((0, 0, sheet.width, 0), fill=RULE)
    for number, part in enumerate(_folded(row.name, writer)):
        writer.write(pen, gap, gap + TEXT_SIZE * (0.6 + 1.2 * number), part, TEXT_SIZE)
    y = gap
    for image, sample in zip(lines, row.horizontal):
        sheet.paste(image, (NAME_WIDTH, y))
        y += image.height
        if style.labels:
            writer.write(pen, NAME_WIDTH, y + label / 2, sample.text, SMALL)
        y += label + gap
    x = NAME_WIDTH + across + 2 * gap
    for image, sample in zip(columns, row.vertical):
        sheet.paste(image, (x, gap))
        x += image.width
        if style.labels:
            writer.write_down(pen, x + label / 2, gap, sample.text, SMALL)
        x += label + gap
    return sheet


def _folded(name: str, writer: Writer) -> list[str]:
    """A name in as many lines as fit the column, broken after a hyphen, an underscore or a blank."""
    lines, current = [], ""
    for piece in name.replace("-", "-\0").replace("_", "_\0").replace(" ", " \0").split("\0"):
        if current and writer.width(current + piece, TEXT_SIZE) > NAME_WIDTH - 2 * GAP:
            lines.append(current)
            current = ""
        current += piece
    return [*lines, current]


def compose(blocks: Sequence[Image.Image]) -> Image.Image:
    """The blocks below one another, in as many columns as make the sheet about as wide as it is high."""
    best: tuple[float, list[list[Image.Image]]] | None = None
    for count in range(1, len(blocks) + 1):
        columns = _dealt(blocks, count)
        width = sum(max(image.width for image in column) for column in columns)
        height = max(sum(image.height for image in column) for column in columns)
        unlike = max(width / height, height / width)
        if best is None or unlike < best[0]:
            best = unlike, columns
    assert best is not None
    columns = best[1]
    widths = [max(image.width for image in column) for column in columns]
    size = sum(widths), max(sum(image.height for image in column) for column in columns)
    sheet = Image.new("RGB", size, GROUND)
    x = 0
    for width, column in zip(widths, columns):
        y = 0
        for image in column:
            sheet.paste(image, (x, y))
            y += image.height
        x += width
    return sheet


def _dealt(blocks: Sequence[Image.Image], count: int) -> list[list[Image.Image]]:
    """The blocks in their order, in at most ``count`` columns of about the same height."""
    target = sum(image.height for image in blocks) / count
    columns: list[list[Image.Image]] = [[]]
    filled = 0
    for image in blocks:
        if columns[-1] and len(columns) < count and filled + image.height / 2 > target * len(columns):
            columns.append([])
        columns[-1].append(image)
        filled += image.height
    return columns
