"""A picture as files and arrays for tests of ``infer.images``, and how near what is made of it comes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

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
