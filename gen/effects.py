"""What happens to a line on its way to the camera. Each effect is a pure function of pixels, strength and draws.

    python -m tools.preview --rows effect -o sheet.png

All work on lines that run along x (a vertical line comes transposed). ``strength`` is in the unit that
`gen.config.Effects` states, ``draws`` are four numbers from 0 to 1. Strokes are as wide as the type is large, so
blurs are stated for type of 25 px and follow ``size``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from gen import paint, pools

Bytes = npt.NDArray[np.uint8]
Draws = Sequence[float]
Applied = dict[str, tuple[float, Draws]]
REFERENCE = 25
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
_SQUARE = np.ones((3, 3), np.uint8)


def hold_back(applied: Applied, size: int) -> None:
    """Leave out and soften, in place, what would leave small type unreadable together: blurs above all."""
    soft = [name for name in SOFTENERS if name in applied]
    for name in soft[1 if size < 20 else 2 :]:
        del applied[name]
    if "weight" in applied and applied["weight"][0] < 0:
        strength, draws = applied["weight"]
        applied["weight"] = round(strength * min(1.0, size / REFERENCE), 3), draws


def limit_noise(applied: Applied, contrast: int) -> None:
    """Keep noise to a fifth of the grey levels between ink and paper, in place."""
    if "contrast" in applied:
        contrast = round(contrast * min(1.0, applied["contrast"][0]))
    for name, unit in NOISES.items():
        if name in applied:
            strength, draws = applied[name]
            applied[name] = min(strength, round(0.2 * contrast / unit, 3)), draws


def window(image: Bytes, draws: Draws) -> tuple[int, int]:
    """The corner of a window of the image's size in a pool of noise."""
    rows, columns = image.shape
    assert columns <= pools.COLUMNS  # Recipe sees to it; beyond it the kernels would read what is not theirs
    return int(draws[0] * (pools.ROWS - rows + 1)), int(draws[1] * (pools.COLUMNS - columns + 1))


def weight(mask: Bytes, strength: float) -> Bytes:
    """Strokes bolder (strength 1: by a pixel on each side) or thinner (-1)."""
    other = cv2.dilate(mask, _CROSS) if strength > 0 else cv2.erode(mask, _CROSS)
    result: Bytes = mask.copy()
    paint.mix(result, np.asarray(other, np.uint8), round(abs(strength) * 256))
    return result


def gradient(paper: Bytes, strength: float, draws: Draws) -> None:
    """Paper lighter at one end and one edge, in place."""
    along, across = (1 if draws[0] < 0.5 else -1) * strength, (2 * draws[1] - 1) * strength / 2
    paint.slope(paper, round(along), round(across))


def texture(paper: Bytes, strength: float, draws: Draws) -> None:
    """Uneven paper, in place."""
    paint.add(paper, pools.texture(), *window(paper, draws), round(strength * 128), False)


def underline(paper: Bytes, level: int, text: tuple[int, int, int, int], strength: float, draws: Draws) -> bool:
    """A rule below the ink (``text``: left, top, right, bottom), in place; False where there is no room for one.

    A rule that touches a character may make another of it.
    """
    rows, thick = len(paper), max(1, round(strength))
    gap = 1 + int(draws[0] * 3)
    above, below = text[1] - 1 - thick, rows - text[3] - 1 - thick
    if max(above, below) < 0:
        return False
    if below < 0 or (draws[1] < 0.15 and above >= 0):  # above the text, or on the other side of a vertical line
        top = max(0, text[1] - gap - thick)
    else:
        top = min(text[3] + gap, rows - thick)
    paper[top : top + thick, max(0, text[0] - int(draws[2] * 8)) : text[2] + int(draws[3] * 8)] = level
    return True


def table(paper: Bytes, level: int, text: tuple[int, int, int, int], strength: float, draws: Draws) -> bool:
    """Lines of a table along the edges and at an end, in place, where they do not touch the ink; False for none."""
    rows, columns = paper.shape
    thick = max(1, round(strength))
    top, bottom = draws[0] < 0.7 and text[1] > thick, draws[0] > 0.3 and text[3] < rows - thick
    before, after = text[0] - thick, columns - thick - text[2] - 1
    if top:
        paper[:thick] = level
    if bottom:
        paper[rows - thick :] = level
    if before > 0 and (draws[1] < 0.5 or after <= 0):
        left = int(draws[2] * before)
        paper[:, left : left + thick] = level
    elif after > 0:
        left = text[2] + 1 + int(draws[2] * after)
        paper[:, left : left + thick] = level
    return top or bottom or before > 0 or after > 0


def shadow(image: Bytes, mask: Bytes, level: int, strength: float, draws: Draws) -> None:
    """The ink's shadow on the paper, to the lower right, in place."""
    move = max(1, round(strength))
    moved = np.zeros_like(mask)
    moved[move:, move:] = mask[:-move, :-move]
    paint.cover(image, moved, level, 90 + int(draws[0] * 90))


def outline(image: Bytes, mask: Bytes, paper: int, ink: int, strength: float, draws: Draws) -> None:
    """A rim around the strokes, between ink and paper or the ink's opposite, in place; the ink comes over it."""
    opposite = 255 if ink < paper else 0
    level = opposite if draws[0] < 0.5 and abs(opposite - paper) > 40 else (ink + paper) // 2
    paint.cover(image, np.asarray(cv2.dilate(mask, _SQUARE), np.uint8), level, round(strength * 256))


def _gaussian_blur(image: Bytes, strength: float, size: int, draws: Draws) -> Bytes:
    sigma = max(strength * size / REFERENCE, 0.1)
    side = 2 * math.ceil(2.5 * sigma) + 1
    return np.asarray(cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REPLICATE), np.uint8)


def _motion_blur(image: Bytes, strength: float, size: int, draws: Draws) -> Bytes:
    return _convolve(image, motion_weights(max(2, round(strength * size / REFERENCE)), int(draws[0] * 4)))


def _defocus(image: Bytes, strength: float, size: int, draws: Draws) -> Bytes:
    return _convolve(image, disc_weights(max(1, round(strength * size / REFERENCE * 8))))


def _convolve(image: Bytes, weights: npt.NDArray[np.int32]) -> Bytes:
    result = np.empty_like(image)
    paint.convolve(image, weights, 10, result)
    return result


@lru_cache(maxsize=256)
def motion_weights(length: int, direction: int) -> npt.NDArray[np.int32]:
    """A straight stroke of the camera: ``length`` px along x, y or a diagonal; sums to 1024."""
    side = length | 1
    weights = np.zeros((side, side), np.int32)
    for k in range(length):
        y, x = ((side // 2, k), (k, side // 2), (k, k), (k, side - 1 - k))[direction]
        weights[y, x] = 1024 * (k + 1) // length - 1024 * k // length
    return weights


@lru_cache(maxsize=256)
def disc_weights(eighths: int) -> npt.NDArray[np.int32]:
    """A disc with a radius of ``eighths``/8 px, by counting the 1/8 px points inside; sums to 1024."""
    reach = math.ceil(eighths / 8 - 0.5) if eighths > 4 else 1
    points = 2 * np.arange(-8 * reach - 4, 8 * reach + 4) + 1  # in 1/16 px
    inside = points[:, None] ** 2 + points[None, :] ** 2 <= (2 * eighths) ** 2
    side = 2 * reach + 1
    counts = inside.reshape(side, 8, side, 8).sum(axis=(1, 3))
    weights = np.asarray(counts * 1024 // counts.sum(), np.int32)
    weights[reach, reach] += 1024 - weights.sum()
    return weights


def _downscale(image: Bytes, strength: float, size: int, draws: Draws) -> Bytes:
    rows, columns = image.shape
    factor = 1 + (strength - 1) * min(1.0, size / REFERENCE)
    small = max(4, round(columns / factor)), max(4, round(rows / factor))
    less = cv2.resize(image, small, interpolation=cv2.INTER_LINEAR_EXACT)
    back = cv2.INTER_NEAREST if draws[0] < 0.2 else cv2.INTER_LINEAR_EXACT
    return np.asarray(cv2.resize(less, (columns, rows), interpolation=back), np.uint8)


def _gaussian_noise(image: Bytes, strength: float, size: int, draws: Draws) -> Bytes:
    paint.add(image, pools.gaussian(), *window(image, draws), round(strength * 256), False)
    return image


def _speckle(image: Bytes, strength: float, size: int, draws: Draws) -> Bytes:
    paint.add(image, pools.gaussian(), *window(image, draws), round(strength * 65536), True)
    return image


def _salt(image: Bytes, strength: float, size: int, draws: Draws) -> Bytes:
    paint.salt(image, pools.gaussian(), int(draws[0] * pools.gaussian().size), max(1, round(strength * image.size)))
    return image


def _contrast(image: Bytes, strength: float, size: int, draws: Draws) -> Bytes:
    middle = 128 + int((2 * draws[0] - 1) * 20)
    values = ((np.arange(256) - 128) * round(strength * 256) >> 8) + middle
    return np.asarray(cv2.LUT(image, np.clip(values, 0, 255).astype(np.uint8)), np.uint8)


def _gamma(image: Bytes, strength: float, size: int, draws: Draws) -> Bytes:
    return np.asarray(cv2.LUT(image, gamma_table(round(strength * 64))), np.uint8)


@lru_cache(maxsize=512)
def gamma_table(exponent: int) -> Bytes:
    """The grey curve of exponent/64, uint8 [256]."""
    return np.array([round(255 * (value / 255) ** (max(exponent, 1) / 64)) for value in range(256)], np.uint8)


def _jpeg(image: Bytes, strength: float, size: int, draws: Draws) -> Bytes:
    data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, round(strength)))[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


NOISES = {"gaussian_noise": 1, "texture": 1, "speckle": 255}  # and what its strength is to be multiplied with
SOFTENERS = ("downscale", "gaussian_blur", "motion_blur", "defocus")  # the first of CAMERA, in its order

# In the order in which light, lens, sensor and file add them.
CAMERA: dict[str, Callable[[Bytes, float, int, Draws], Bytes]] = {
    "downscale": _downscale,
    "gaussian_blur": _gaussian_blur,
    "motion_blur": _motion_blur,
    "defocus": _defocus,
    "contrast": _contrast,
    "gamma": _gamma,
    "gaussian_noise": _gaussian_noise,
    "speckle": _speckle,
    "salt": _salt,
    "jpeg": _jpeg,
}
