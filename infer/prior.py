"""What is likely in written text: a second look at characters that are nearly alike, in lines that are text.

    python -m infer --prior none line.png    # what the network saw, and nothing else

Networks here learn all characters about equally often, so that rare ones are read as well as common ones. In a text 。
is a thousand times as frequent as °, which in many a font looks the same. By Bayes' rule the chances of a network that
learned classes equally often become right for other frequencies when they are multiplied with these (Saerens et al.
2002), here with their power `POWER`, since the frequencies are rough. Whether a line is text at all is asked of the
line: a text is much likelier under the frequencies of text than under equal ones, rare characters and random ones are
not, and such lines are left as the network saw them.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gen.charset import group_of
from gen.errors import UserError
from train.codec import Codec

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Which: TypeAlias = Literal["auto", "text", "none"]
PRIORS = ("auto", "text", "none")
POWER = 0.5

# The commonest characters of modern texts, simplified, and the traditional forms that differ.
COMMONEST = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去法学"
    "如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两"
    "高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员"
    "解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至"
    "队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观"
    "清今切院让识候带导争运"
    "這個們來爲為國說時會對於過發後裏裡種經麼學現當沒動還進樣開從實軍無與長機關點業將兩間問並應戰頭體見產話內給門兒東聲員論處義幾認條氣題"
    "爾別變總電數報結務場計資許統區隊決馬書則聽卻達強難權設記類據邊張該規萬覺術領確傳師觀讓識帶導爭運"
)
# How often a character comes in a million of a text, roughly and rather too often where it is rare: each of a string
# (the first that has it), each of a group.
_CHARACTERS = {
    "，。": 20_000, " ": 10_000, "的一是了不在有人我他": 8000, "、：；？！“”（）《》「」0123456789": 2000,
    "abcdefghijklmnopqrstuvwxyz": 600, ".-/:(),%": 500, COMMONEST: 400, "ABCDEFGHIJKLMNOPQRSTUVWXYZ": 200,
    "—…～·‘’『』【】℃¥￥×": 100,
}  # fmt: skip
_GROUPS = {"ascii": 50, "gb2312-1": 120, "gb2312-2": 40, "symbol": 1}
_BIG5 = (5, 60, 15)  # of other ideographs: outside of Big5, in its commoner half, in its other half
RAREST = 1
_KNOWN = {char: often for chars, often in reversed(_CHARACTERS.items()) for char in chars}


def frequency(char: str) -> float:
    """How often a character comes in a million characters of a text, roughly."""
    if char in _KNOWN:
        return _KNOWN[char]
    group = group_of(char)
    return _BIG5[_big5_level(char)] if group == "uro" else _GROUPS.get(group, RAREST)


def _big5_level(char: str) -> int:
    try:
        code = char.encode("big5")
    except UnicodeEncodeError:
        return 0
    return 1 if code[0] < 0xC9 else 2  # levels 1 and 2 begin at the rows A4 and C9


class Prior:
    """Frequencies for the classes of a network; ``which``: text takes all lines as text, auto finds out."""

    def __init__(self, codec: Codec, which: Literal["auto", "text"]) -> None:
        often = np.array([frequency(char) for char in codec.characters])
        self._ratio = (often / often.mean()).astype(np.float32)  # to what equal frequencies would be
        self._factor = (self._ratio / self._ratio.max()) ** np.float32(POWER)
        # Evidence of a character, in nats, that these frequencies give in the mean. As they are too flat, texts have
        # more (1.8 to 3.2 over the packaged charset, where this is 1.5), random characters hardly ever as much.
        self._text = float((often / often.sum()) @ np.log(self._ratio))
        self._which = which

    def again(self, chances: Floats, at: Ints, best: Ints, line: Ints) -> dict[int, Floats]:
        """Chances as they are in a text, float32 [classes], by number of the character; where nothing can change, none.

        ``chances`` [N, classes] are of frames. For each character: ``at``, which frame speaks for it, ``best``, its
        class there, and ``line``, the line that it stands in; int64 [characters] each.
        """
        unsure = chances[at, best] * (1 + self._factor[best]) < 1  # else no factor, 1 at most, puts another first
        if self._which == "auto" and unsure.any():
            ratio = self._ratio[best]
            ratio[unsure] = chances[at[unsure]] @ self._ratio
            evidence = np.bincount(line, np.log(ratio) - self._text)
            unsure &= (evidence > 0)[line]
        numbers = np.flatnonzero(unsure)
        rows = chances[at[numbers]] * self._factor
        rows /= rows.sum(axis=1, keepdims=True)
        return dict(zip(numbers.tolist(), rows))


def open_prior(codec: Codec, which: Which) -> Prior | None:
    """The prior of a network's classes; None for ``none``. Raises `UserError` for what is none of `PRIORS`."""
    if which not in PRIORS:
        raise UserError(f"prior {which!r} is none of {', '.join(PRIORS)}")
    return None if which == "none" else Prior(codec, which)
