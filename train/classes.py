"""Where the class matrix starts: every character's row is what its glyphs look like.

A character's glyphs are drawn in all fonts, averaged, blurred, and reduced to the leading principal components of all
characters; a network then only has to find what it sees, not to learn 30,656 names. Training from random rows is
still at chance when this start reads 47 % of glyphs.

    python -m pytest tests/test_train_classes.py
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from gen.sample import Recipe

Floats = NDArray[np.float32]
EM, SMALL = 32, 20  # px: the cell that glyphs are put in, and its size once blurred
FLATTEN = 0.7  # power of the components' strengths that is divided out; 1 would whiten them
RIDGE = 1e-3  # of the mean variance, in `rows_like`


def glyph_images(recipe: Recipe) -> tuple[Floats, NDArray[np.bool_]]:
    """The mean glyph of each character over a recipe's fonts, float32 [characters, SMALL * SMALL], and which of them
    any font has, bool [characters]."""
    count = len(recipe.charset)
    total = np.zeros((count, EM, EM), np.float32)
    fonts = np.zeros(count, np.int32)
    for glyphs in recipe.glyphs:
        page = min(glyphs.pages, key=lambda page: abs(page.size - 0.9 * EM))
        margin = (EM - page.size) // 2
        for position in np.flatnonzero(glyphs.cover).tolist():
            offset, width, height, left, top = page.table[position].tolist()
            if not 0 < width <= EM or not 0 < height <= EM:
                continue
            beside = round((page.size - glyphs.advance[position] * page.size) / 2)  # half-width ones in the middle
            x = min(max(0, margin + left + beside), EM - width)
            y = min(max(0, margin + page.rise - top), EM - height)
            bitmap = page.bitmaps[offset : offset + width * height].reshape(height, width)
            total[position, y : y + height, x : x + width] += bitmap
            fonts[position] += 1
    images = np.empty((count, SMALL * SMALL), np.float32)
    for position, image in enumerate(total):
        blurred = cv2.GaussianBlur(image / max(1, fonts[position]), (5, 5), 1.2)
        images[position] = cv2.resize(blurred, (SMALL, SMALL), interpolation=cv2.INTER_AREA).ravel()
    return images, fonts > 0


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums of several threads differ in their last bits; a start is the same on any number of processors."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@_one_thread()
def first_rows(images: Floats, drawn: NDArray[np.bool_], classes: int, dim: int, seed: int) -> Floats:
    """Rows of unit length, float32 [classes, dim]: principal components of the images, the strong ones held down.

    Classes without a glyph (the space, or what no font has) get random directions, and so do components beyond those
    that a small charset has.
    """
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, 2], np.uint64)))
    rows = rng.standard_normal((classes, dim), dtype=np.float32)
    known = images[drawn]
    if len(known) > 1 and (known != known[0]).any():
        centred = torch.from_numpy(known - known.mean(axis=0)).double()
        strengths, axes = torch.linalg.eigh(centred.T @ centred)  # the strong ones last
        strengths, axes = strengths.flip(0).clamp(min=0).sqrt(), axes.flip(1)
        kept = min(dim, len(known) - 1, int((strengths > 1e-4 * strengths[0]).sum()))
        axes, weights = axes[:, :kept], (strengths[:kept] / strengths[0]) ** -FLATTEN
        coordinates = (centred @ axes * weights).numpy().astype(np.float32)
        level = float(np.sqrt((coordinates**2).mean()))
        block = rows[: len(images)]
        block[drawn] = 0.1 * level * block[drawn]  # only matters for the components that there are not
        block[drawn, :kept] = coordinates
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@_one_thread()
def rows_like(rows: Floats, images: Floats, known: NDArray[np.bool_]) -> Floats:
    """Rows for the characters that a trained class matrix does not know: what its rows would be for their images.

    ``rows`` float32 [characters, dim] is right where ``known``; a ridge regression from glyph images to rows, fitted
    there, fills in the others.
    """
    x, y = torch.from_numpy(images[known]).double(), torch.from_numpy(rows[known]).double()
    mean, level = x.mean(0), y.mean(0)
    x = x - mean
    square = x.T @ x
    square.diagonal().add_(RIDGE * square.trace() / len(square) + 1e-9)
    weights = torch.linalg.solve(square, x.T @ (y - level))
    fitted = torch.nn.functional.normalize((torch.from_numpy(images[~known]).double() - mean) @ weights + level)
    result: Floats = rows.copy()
    result[~known] = fitted.numpy()
    return result
