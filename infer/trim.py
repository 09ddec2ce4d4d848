"""Cut wide blank margins off a line: a network trained on lines that fill their image reads nothing in a large void.

Ink is where edges are: light that changes slowly has none. Faint edges count as well, down to what the paper itself has
everywhere; where ink does not stand out from that, nothing is cut. Nor is it where specks are in the margin. The cut is
made well outside of the ink, and only where the margin is far wider than any the network learned from.

    python -m pytest tests/test_infer_trim.py
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
KEPT = 0.15  # of the ink's height, left on each side; lines that were read like this had the fewest errors
FILLED = 0.4  # ink that takes this share of the height is left as it is across the line
ROOM = 32  # px across the line that may be blank; a line of commas or lower case has as much
LEGIBLE = 10  # px; lower ink is no text but a dash or a dot, and its height says nothing
WIDE = 1.5  # margins before and after the text up to this many heights are left, too
FAINT = 12  # grey levels that an edge of ink has at least
SHARE = 0.25  # of the strongest edge, likewise where that is less
QUIET = 0.1  # share of the image that is surely paper
NOISE = 2.8  # the strongest edge in noise is this many times the one that a share of QUIET stays below
CLEAR = 2  # times the noise that the strongest edge of ink has


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
    reach = min(9, max(5, height // 50 | 1)) // 2  # px; in large images edges are wider
    x, y, w, h = cv2.boundingRect(_ink(pixels, reach))
    if not w:
        return whole
    left, right = _within(x, x + w, width, reach)
    top, bottom = _within(y, y + h, height, reach)
    if LEGIBLE <= bottom - top < min(FILLED * height, height - ROOM):
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


def _within(start: int, end: int, size: int, reach: int) -> tuple[int, int]:
    """From where to where there is ink, given what is within ``reach`` of it."""
    return start + reach if start else 0, end - reach if end < size else size


def _ink(pixels: Bytes, reach: int) -> Bytes:
    """What has an edge of ink within ``reach`` px, uint8 [H, W], 0 where there is none.

    Nothing is smoothed first: specks only make the crop larger, but a stroke of one pixel would be lost.
    """
    edges = cv2.morphologyEx(pixels, cv2.MORPH_GRADIENT, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    quiet = int(QUIET * edges.size)
    noise = NOISE * int(np.partition(edges, quiet, axis=None)[quiet])
    strongest = int(edges.max())
    if strongest <= max(FAINT, CLEAR * noise):
        return np.zeros(edges.shape, np.uint8)
    return (edges > max(noise, min(FAINT, SHARE * strongest))).view(np.uint8)
