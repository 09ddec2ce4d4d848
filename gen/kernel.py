"""Loops over pixels and glyphs compiled by numba: ``from gen.kernel import kernel``.

Compiled once a machine and kept in the cache folder. Without fast-math, so IEEE arithmetic in the order written:
the same bits on every processor.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar, cast

from gen.paths import cache_dir

os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_dir() / "numba"))  # numba reads it when it is imported

import numba

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile ``function`` at its first call, and keep the machine code for the next process."""
    return cast(F, numba.njit(cache=True, nogil=True)(function))
