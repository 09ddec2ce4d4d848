"""Read images of Chinese text lines: ``from infer import Recognizer; Recognizer.load().read(["a.png"])[0].text``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infer.images import ImageError
    from infer.reading import Char, Reading
    from infer.recognizer import Recognizer

__all__ = ["Char", "ImageError", "Reading", "Recognizer"]

_WHERE = {"Char": "reading", "ImageError": "images", "Reading": "reading", "Recognizer": "recognizer"}


def __getattr__(name: str) -> Any:
    """Imported when asked for, so that a command can see to Ctrl-C before imports that take a while."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"infer.{_WHERE[name]}"), name)
