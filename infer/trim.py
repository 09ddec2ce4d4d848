"""Cut wide blank margins off a line: a network trained on lines that fill their image reads nothing in a large void.

Ink is where edges are; light that changes slowly has none, and noisy paper has them everywhere and is left whole. The
cut is made well outside of the ink, and only where the margin is far wider than any the network learned from.

    python -m pytest tests/test_infer_trim.py
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
KEPT = 0.25  # of the ink's height, left on each side
FILLED = 0.45  # ink that takes this share of the height is left as it is across the line
WIDE = 1.5  # margins before and after the text up to this many heights are left, too
FAINT = 24  # grey levels that an edge of ink has at least
SHARE = 0.25  # of the strongest edge in the image, likewise


@dataclass(frozen=True)
class Crop:
    """What is left of an image: the rows from ``top`` to ``bottom``, the columns from ``left`` to ``right``, px."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, pixels: Bytes) -> Bytes:
        """That part of the image."""
        return pixels[self.top : self.bottom, self.left : self.right]


def find_crop(pixels: Bytes) -> Crop:
    """Where the line is in an upright image, grey uint8 [H, W]: all of it where there is no wide margin, or no ink."""
    height, width = pixels.shape
    whole = Crop(0, height, 0, width)
    ink = _ink(pixels)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not len(rows):
        return whole
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    if bottom - top < FILLED * height:
        margin = max(2, round(KEPT * (bottom - top)))
        top, bottom = max(0, top - margin), min(height, bottom + margin)
    else:
        top, bottom = 0, height
    margin = round(0.5 * (bottom - top))
    wide = WIDE * (bottom - top)
    return Crop(
        top,
        bottom,
        max(0, left - margin) if left > wide else 0,
        min(width, right + margin) if width - right > wide else width,
    )


def _ink(pixels: Bytes) -> NDArray[np.bool_]:
    """Where there are edges, bool [H, W]. Nothing is smoothed first: specks only make the crop larger, but a stroke of
    one pixel would be lost."""
    edges = cv2.morphologyEx(pixels, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return np.asarray(edges > max(FAINT, SHARE * float(edges.max())))
