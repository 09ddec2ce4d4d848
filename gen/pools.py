"""Noise made once and used everywhere: drawing fresh noise for every image would cost more than all else.

An image takes a window at a place of its own, so two images share pixels of noise only by rare accident.
Exercised by ``python -m tools.preview --rows effect -o sheet.png``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

N = TypeVar("N", int, npt.NDArray[np.int64])
ROWS, COLUMNS = 256, 8192  # the largest image: gen.config allows none beyond it
_SEED = 0x5EED


def _rng(number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([_SEED, number], np.uint64)))


def _as_sigma_32(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int8]:
    scaled = np.rint((values - values.mean()) * (32 / values.std()))
    return np.asarray(np.clip(scaled, -127, 127), np.int8)


@lru_cache(maxsize=1)
def gaussian() -> npt.NDArray[np.int8]:
    """White noise, int8 [ROWS, COLUMNS], one sigma is 32."""
    return _as_sigma_32(_rng(0).standard_normal((ROWS, COLUMNS)))


@lru_cache(maxsize=1)
def texture() -> npt.NDArray[np.int8]:
    """Uneven paper, int8 [ROWS, COLUMNS], one sigma is 32: grain of a few pixels on clouds of many."""
    noise = _rng(1).integers(-1000, 1001, (ROWS, COLUMNS))
    grain, clouds = noise, noise
    for _ in range(2):  # twice a box is nearly round
        grain, clouds = _box(grain, 3), _box(clouds, 31)
    return _as_sigma_32(grain / grain.std() + clouds / clouds.std())


def _box(values: npt.NDArray[np.int64], side: int) -> npt.NDArray[np.int64]:
    """Sums over squares, wrapping around: whole numbers, so that no processor rounds otherwise."""
    for axis in (0, 1):
        values = sum((np.roll(values, k - side // 2, axis) for k in range(side)), np.zeros_like(values))
    return values


@lru_cache(maxsize=4)
def coloured(low: int, high: int) -> npt.NDArray[np.uint8]:
    """Colour noise made grey, flat uint8 [ROWS * COLUMNS]: three channels uniform from low to high, made grey."""
    channels = low + _rng(2).random((3, ROWS * COLUMNS), np.float32) * (high - low + 1)
    red, green, blue = channels.astype(np.int64)
    return np.asarray(luma(red, green, blue), np.uint8)


def luma(red: N, green: N, blue: N) -> N:
    """Grey of a colour (ITU-R BT.601 in 16-bit integers)."""
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
