"""How each character stands in a vertical line; the same for every font, whatever its own vertical forms.

    python -m tools.preview --direction vertical -o sheet.png

After Unicode Standard Annex 50 and GB/T 15834, with one departure: what would turn into another character of the
charset when rotated (an arrow, a minus, a stroke) stays upright where it stands alone, for the label must be true.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UPRIGHT, TURNED, CORNER, SMALL, CENTRED, LETTER, DIGIT, MARK = range(8)

_TURNED = "（）［］｛｝〈〉《》「」『』【】〔〕〖〗〘〙〚〛｟｠“”‘’—―–…‥～〜ー｢｣()[]{}"
_CORNER = "，。、．｡､"
_SMALL = "ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶㇰㇱㇲㇳㇴㇵㇶㇷㇸㇹㇺㇻㇼㇽㇾㇿ"
_CENTRED = "：；！？·・"


def stances(chars: str) -> npt.NDArray[np.uint8]:
    """For each character one of the constants above, uint8 [characters].

    TURNED lies on its side, CORNER moves to the upper right of its cell, SMALL (kana) a little up and right, CENTRED
    stands in the middle; LETTER, DIGIT and MARK are ASCII, which lies on its side in words and numbers.
    """
    stance = dict.fromkeys(_TURNED, TURNED) | dict.fromkeys(_CORNER, CORNER)
    stance |= dict.fromkeys(_SMALL, SMALL) | dict.fromkeys(_CENTRED, CENTRED)
    for code in range(0x21, 0x7F):
        char = chr(code)
        if char not in stance:
            stance[char] = DIGIT if char.isdigit() else LETTER if char.isalpha() else MARK
    return np.array([stance.get(char, UPRIGHT) for char in chars], np.uint8)
