"""Loops over pixels and glyphs compiled by numba: ``from gen.kernel import kernel``.

Compiled once a machine and kept in the cache folder. Without fast-math, so IEEE arithmetic in the order written:
the same bits on every processor.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar, cast

from gen.paths import cache_dir

_CACHE = cache_dir() / "numba"
os.environ.setdefault("NUMBA_CACHE_DIR", str(_CACHE))  # numba reads it when it is imported

import numba  # noqa: E402

try:
    _CACHE.mkdir(parents=True, exist_ok=True)
    _KEEP = os.access(_CACHE, os.W_OK)
except OSError:  # who needs the folder for glyphs as well will say what to do
    _KEEP = False

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile ``function`` at its first call, and keep the machine code for the next process."""
    return cast(F, numba.njit(cache=_KEEP, nogil=True)(function))
