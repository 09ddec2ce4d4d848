"""Read images of Chinese text lines: ``from infer import Recognizer; Recognizer.load().read(["a.png"])[0].text``."""

from infer.images import ImageError
from infer.reading import Char, Reading
from infer.recognizer import Recognizer

__all__ = ["Char", "ImageError", "Reading", "Recognizer"]
