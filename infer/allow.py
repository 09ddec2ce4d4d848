"""Which characters may be read: ``--allow gb2312``, ``--allow 0123456789``, ``--allow my_words.txt``.

A user who knows the alphabet of the images gains most from saying so: what cannot be is not read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gen.errors import UserError
from train.codec import Codec

STANDARDS = ("ascii", "gb2312", "gbk", "big5")


def allowed_characters(text: str) -> str:
    """The characters that ``--allow`` names: those in a UTF-8 file, else those written there.

    Raises `UserError` for a file that cannot be read.
    """
    path = Path(text)
    if 1 < len(text) < 256 and path.is_file():
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--allow {path} cannot be read as UTF-8: {error}") from None
    elif text.endswith(".txt"):  # whose letters nobody wants to read
        raise UserError(f"--allow {path} does not exist: give a UTF-8 file with the characters, or the characters")
    return "".join(dict.fromkeys(text.replace("\r", "").replace("\n", "")))


def allowed_classes(text: str, codec: Codec) -> NDArray[np.bool_]:
    """Which classes of a network ``--allow`` leaves, bool [classes]. Raises `UserError` when it leaves none."""
    if text.lower() in STANDARDS:
        mask = np.array([_has(text.lower(), char) for char in codec.characters])
    else:
        wanted = set(allowed_characters(text))
        mask = np.array([char in wanted for char in codec.characters])
    if not mask.any():
        raise UserError(
            f"--allow {text[:40]!r}: the weights read none of these characters; give characters, a UTF-8 file with "
            f"them, or one of {', '.join(STANDARDS)}"
        )
    return mask


def _has(standard: str, char: str) -> bool:
    try:
        char.encode(standard)
    except UnicodeEncodeError:
        return False
    return True
