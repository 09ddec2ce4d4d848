"""What is likely in written text: a second look at characters that are nearly alike, in lines that are text.

    python -m infer --prior none line.png    # what the network saw, and nothing else

Networks here learn all characters about equally often, so that rare ones are read as well as common ones. In a text 。
is a hundred times as frequent as °, which in many a font looks the same; a dash is seldom alone between ideographs, 一
often, and what stands among small letters is no capital; and a line is in simplified or in traditional writing. By
Bayes' rule the chances of a network that learned classes equally often become right for other frequencies when they are
multiplied with these (Saerens et al. 2002): with those of the characters, of their kinds beside their neighbours'
(`infer.context`), and of their script in the line; here with their power `POWER`, since all of them are rough: what the
network is sure of stays. Neighbours are looked at as they were read, and once more as they then are.
Whether a line is text at all its ideographs and marks tell, many of which are then common ones, or many small letters;
all other lines are left as the network saw them, but for marks of annotation: ㆒ and ㆖ are small 一 and 上, and hardly
ever written, so that little is left of their chances in any line, unless the network is sure.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gen.charset import group_of, is_frequent_big5, is_ideograph, script_of
from gen.errors import UserError
from infer.context import END, KINDS, UNKNOWN, attraction, kind_of
from train.codec import Codec

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Which: TypeAlias = Literal["auto", "text", "none"]
PRIORS = ("auto", "text", "none")
SCRIPTS = ("", "simplified", "traditional")
POWER = 0.5
FEWEST, SHARE = 4, 0.3  # ideographs and marks that a line of text has at least, and how many of them are common ones
WORDS = 0.5  # share of small letters in a line of Latin words, which has `FEWEST` of them, and no digits, as codes have
ALPHABET = 1000  # with auto, an alphabet of fewer characters is left alone: it says itself what to expect

MARKS = "，。、：；？！“”（）《》「」"
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
ANNOTATIONS = "".join(map(chr, range(0x3190, 0x31A0)))
LEFT = 0.1  # of the chances of annotations, in lines that are no text
# How often each character of a string comes in a million of a text, roughly; the first string that has it counts.
FREQUENCIES = {
    "，。": 20_000, " ": 10_000, "的一是不了在有": 4000, MARKS: 2000, COMMONEST: 400, "°×·『』‘’【】": 300, "〇": 100,
    "—…": 30, ANNOTATIONS: 0.1,
}  # fmt: skip
# Of letters, digits and the signs between them; of ideographs that are common at all; of all others, and of all other
# signs, though most of them are much rarer.
ASCII, EVERYDAY, RARE, SIGN = 500, 100, 50, 10
_KNOWN = {char: often for chars, often in reversed(FREQUENCIES.items()) for char in chars}
SURE = 0.9  # what has this chance is not asked about
SLIGHT = 1e-3  # what has less chance is not considered
ROUNDS = 2
UNSEEN = 0.3  # characters of each script that every line is taken to have beside its own


def frequency(char: str) -> float:
    """How often a character comes in a million characters of a text, roughly."""
    if char in _KNOWN:
        return _KNOWN[char]
    if char.isascii():
        return ASCII
    if is_frequent_big5(char) or group_of(char) == "gb2312-1":
        return EVERYDAY
    return RARE if is_ideograph(char) else SIGN


class Prior:
    """Frequencies for the classes of a network; ``which``: text takes all lines as text, auto finds out."""

    def __init__(self, codec: Codec, which: Literal["auto", "text"]) -> None:
        often = np.array([frequency(char) for char in codec.characters], np.float32)
        self._factor = (often / often.max()) ** np.float32(POWER)
        self._kind = np.array([kind_of(char) for char in codec.characters])
        self._attraction = attraction() ** np.float32(POWER)
        self._script = np.array([SCRIPTS.index(script_of(char)) for char in codec.characters])
        self._annotation = np.array([char in ANNOTATIONS for char in codec.characters])
        common = {*MARKS, *COMMONEST}
        self._common = np.array([char in common for char in codec.characters])
        self._telling = (self._kind == KINDS.index("ideograph")) | self._common
        self._small, self._digit = (self._kind == KINDS.index(name) for name in ("small", "digit"))
        self._which = which

    def again(self, chances: Floats, at: Ints, best: Ints, line: Ints, touching: Mask) -> dict[int, Floats]:
        """Chances as they are in a text, float32 [classes], by number of the character; of those that are sure none,
        of lines that are no text those of annotations alone.

        ``chances`` [N, classes] are of frames. For each character: ``at``, which frame speaks for it, ``best``, its
        class there, and ``line``, the line that it stands in; int64 [characters] each. ``touching``, bool [characters]:
        whether no frame is between it and the one before, with which it may be one. What is blank stays so.
        """
        top = chances[at, best]
        unsure = (top > SLIGHT) & (top < SURE)
        result = {}
        if self._which == "auto" and unsure.any():
            text = self._text(best, line)[line]
            for number in np.flatnonzero(unsure & ~text & self._annotation[best]).tolist():
                seen = chances[at[number]]
                rarer = np.where(self._annotation, seen * np.float32(LEFT), seen)
                result[number] = rarer * (seen.sum() / rarer.sum())
            unsure &= text
        numbers = np.flatnonzero(unsure)
        return result | self._in_text(numbers, chances, at, best, line, touching) if len(numbers) else result

    def _in_text(
        self, numbers: Ints, chances: Floats, at: Ints, best: Ints, line: Ints, touching: Mask
    ) -> dict[int, Floats]:
        """As `again`, of the characters ``numbers`` alone, which stand in lines of text."""
        seen = chances[at[numbers]]
        flat = np.flatnonzero(seen.ravel() > SLIGHT)  # the candidates, those of a character side by side
        row, number = np.divmod(flat, seen.shape[1])
        chance = seen[row, number]
        alone = chance * self._factor[number]
        first = np.searchsorted(row, np.arange(len(numbers)))
        now = best.copy()
        for _ in range(ROUNDS):  # all at once, so that none has to wait for another
            likely = alone * self._beside(numbers[row], number, now, line, touching)
            highest = np.maximum.reduceat(likely, first)
            chosen = np.flatnonzero(likely == highest[row])[::-1]
            now[numbers[row[chosen]]] = number[chosen]  # of equal ones the first, as argmax has it
        result = np.zeros_like(seen)
        share = np.add.reduceat(chance, first) / np.add.reduceat(likely, first)
        result[row, number] = likely * share[row]
        return dict(zip(numbers.tolist(), result))

    def _text(self, best: Ints, line: Ints) -> Mask:
        """Which lines are text, bool [lines]."""
        telling, common, small, digits = (
            np.bincount(line, which[best]) for which in (self._telling, self._common, self._small, self._digit)
        )
        words = (small >= FEWEST) & (small >= WORDS * np.bincount(line)) & (digits == 0)
        return np.asarray(words | ((telling >= FEWEST) & (common >= SHARE * telling)))

    def _beside(self, place: Ints, number: Ints, now: Ints, line: Ints, touching: Mask) -> Floats:
        """What speaks for candidates, float32 [candidates]: for classes ``number`` in the ``place`` of characters, when
        the others are the classes ``now``."""
        apart = np.append(True, np.diff(line) != 0)  # from the character before
        kind = self._kind[now]
        before = np.where(apart, END, np.where(touching, UNKNOWN, np.roll(kind, 1)))[place]
        after = np.where(np.roll(apart, -1), END, np.where(np.roll(touching, -1), UNKNOWN, np.roll(kind, -1)))[place]
        own = self._kind[number]
        counts = [np.bincount(line, self._script[now] == k)[line] - (self._script[now] == k) + UNSEEN for k in (1, 2)]
        share = np.stack([np.full(len(now), 0.5), counts[0] / sum(counts), counts[1] / sum(counts)])
        script = (2 * share[self._script[number], place]) ** POWER
        return np.asarray(self._attraction[before, own] * self._attraction[own, after] * script, np.float32)


def open_prior(codec: Codec, which: Which, allowed: Mask | None = None) -> Prior | None:
    """The prior of a network's classes, of which ``allowed`` bool [classes] may be read; None where there is none to
    be: for ``none``, and for ``auto`` with a small alphabet. Raises `UserError` for what is none of `PRIORS`."""
    if which not in PRIORS:
        raise UserError(f"prior {which!r} is none of {', '.join(PRIORS)}")
    few = (codec.classes if allowed is None else int(allowed.sum())) < ALPHABET
    return None if which == "none" or (which == "auto" and few) else Prior(codec, which)
