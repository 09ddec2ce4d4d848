"""The charset: which characters exist, and which class each of them is.

A charset file is UTF-8 text with one character a line; class 0 is the CTC blank and class k is line k. Exactly
the line ending goes (LF or CRLF, and a byte order mark); a line may hold a space or any other code point.

    python -c "from gen.charset import load_charset; print(len(load_charset(None)))"
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

from gen.errors import UserError

PACKAGED = Path(__file__).with_name("all_words.txt")
LOOKALIKE = Path(__file__).with_name("lookalike.tsv")
MAX_CHARACTERS = 100_000
GROUPS = ("ascii", "symbol", "gb2312-1", "gb2312-2", "uro", "ext-a", "plane-2")

# A file with more bytes than this cannot be a charset of MAX_CHARACTERS lines; do not read it to find out.
_MAX_BYTES = MAX_CHARACTERS * 6 + 3


@dataclass(frozen=True)
class Charset:
    """An ordered set of characters; `chars[k - 1]` is the character of class k."""

    chars: str

    def __len__(self) -> int:
        return len(self.chars)

    @cached_property
    def sha256(self) -> str:
        """Identity: the digest of the characters, one a line with LF, in UTF-8."""
        return hashlib.sha256(("\n".join(self.chars) + "\n").encode("utf-8")).hexdigest()

    @cached_property
    def index(self) -> dict[str, int]:
        """Character -> position in `chars` (from 0; the class is one more)."""
        return {char: position for position, char in enumerate(self.chars)}

    def encode(self, text: str) -> list[int]:
        """Return the class (from 1) of each character; UserError when one is not in the charset."""
        try:
            return [self.index[char] + 1 for char in text]
        except KeyError as error:
            char = error.args[0]
            raise UserError(
                f"{describe(char)} in the text {text[:40]!r} is not in the charset of {len(self)} characters; "
                "leave it out or pass a charset that has it (--charset)"
            ) from None

    def decode(self, classes: Iterable[int]) -> str:
        """Return the characters of `classes` (from 1; collapse and drop blanks before); UserError out of range."""
        found = []
        for number in classes:
            if not 1 <= number <= len(self.chars):
                raise UserError(
                    f"class {number} has no character: this charset has the classes 1 to {len(self)} (0 is the "
                    "blank); were these classes made with another charset?"
                )
            found.append(self.chars[number - 1])
        return "".join(found)


def load_charset(path: str | Path | None) -> Charset:
    """Read a charset file (None: the packaged 30,656 characters); UserError says what is wrong and in which line."""
    source = PACKAGED if path is None else Path(path)
    try:
        with source.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot read the charset {source}: {error.strerror}; check the path") from None
    if len(data) > _MAX_BYTES:
        raise UserError(
            f"the charset {source} is larger than {MAX_CHARACTERS} characters can be; give a file with one "
            "character a line"
        )
    return Charset("".join(_parse(data, source)))


def _parse(data: bytes, source: Path) -> list[str]:
    """Split the bytes of a charset file into its characters, in order."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"the charset {source} is not UTF-8: line {line} has the byte 0x{data[error.start]:02x}; convert the "
            "file to UTF-8, one character a line"
        ) from None
    lines = text.removeprefix("\ufeff").split("\n")  # not splitlines: U+0085 or U+2028 may be a character
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise UserError(f"the charset {source} is empty; give a file with one character a line")
    # A line of CR alone is the character U+000D in an LF file, and an empty line in a CRLF file.
    crlf = all(line.endswith("\r") for line in lines)
    chars = [line[:-1] if line.endswith("\r") and (crlf or len(line) > 1) else line for line in lines]
    _validate(chars, source)
    return chars


def _validate(chars: list[str], source: Path) -> None:
    """Raise UserError unless every line is one character that no other line has."""
    if len(chars) > MAX_CHARACTERS:
        raise UserError(f"the charset {source} has {len(chars)} lines; at most {MAX_CHARACTERS} are supported")
    first: dict[str, int] = {}
    duplicates = []
    for number, char in enumerate(chars, start=1):
        if char == "":
            raise UserError(f"the charset {source} has an empty line, line {number}; remove it")
        if len(char) > 1:
            shown = char if len(char) <= 20 else char[:20] + "…"
            raise UserError(
                f"line {number} of the charset {source} has {len(char)} characters, {shown!r}; put one on a line"
            )
        if char in first:
            duplicates.append(f"{describe(char)} in lines {first[char]} and {number}")
        else:
            first[char] = number
    if duplicates:
        more = f" and {len(duplicates) - 5} more" if len(duplicates) > 5 else ""
        raise UserError(
            f"the charset {source} has {len(duplicates)} duplicate line{'s' if len(duplicates) > 1 else ''}: "
            f"{'; '.join(duplicates[:5])}{more}; keep one of each"
        )


def describe(char: str) -> str:
    """Name a character for a message, e.g. `'字' (U+5B57)`."""
    return f"{char!r} (U+{ord(char):04X})"


def group_of(char: str) -> str:
    """Return which of GROUPS a character belongs to; 'uro' holds every other Han character of the BMP."""
    codepoint = ord(char)
    if codepoint < 0x80:
        return "ascii"
    if 0x20000 <= codepoint <= 0x3FFFF:
        return "plane-2"
    if 0x3400 <= codepoint <= 0x4DBF:
        return "ext-a"
    if 0x4E00 <= codepoint <= 0x9FFF or 0xF900 <= codepoint <= 0xFAFF:
        first, second = _gb2312()
        return "gb2312-1" if char in first else "gb2312-2" if char in second else "uro"
    return "symbol"


def is_gb2312_hanzi(char: str) -> bool:
    """True for the 6,763 ideographs of GB2312."""
    first, second = _gb2312()
    return char in first or char in second


def is_ideograph(char: str) -> bool:
    """True for all that is written in Chinese but marks, letters and symbols."""
    return group_of(char) not in ("ascii", "symbol")


def is_frequent_big5(char: str) -> bool:
    """True for the 5,401 ideographs that Big5 calls frequently used."""
    return char in _big5()[0]


def script_of(char: str) -> Literal["simplified", "traditional", ""]:
    """Which of the two ways of writing an ideograph belongs to, as far as GB2312 and Big5 tell; "" for both or none."""
    frequent, other = _big5()
    if char in frequent or char in other:
        return "" if is_gb2312_hanzi(char) else "traditional"
    return "simplified" if is_gb2312_hanzi(char) else ""


Levels = tuple[frozenset[str], frozenset[str]]


@lru_cache(maxsize=1)
def _gb2312() -> Levels:
    """Level 1 and level 2 (GB 2312-80); whole tables, since to encode a charset takes longer than to read a line."""
    return _table("gb2312", 0xB0A1, 0xD7F9), _table("gb2312", 0xD8A1, 0xF7FE)


@lru_cache(maxsize=1)
def _big5() -> Levels:
    """The frequently used ideographs and the others (Big5, 1984)."""
    return _table("big5", 0xA440, 0xC67E), _table("big5", 0xC940, 0xF9D5)


def _table(codec: str, first: int, last: int) -> frozenset[str]:
    columns = [*range(0x40, 0x7F), *range(0xA1, 0xFF)] if codec == "big5" else range(0xA1, 0xFF)
    pairs = (row << 8 | column for row in range(first >> 8, (last >> 8) + 1) for column in columns)
    return frozenset(b"".join(pair.to_bytes(2, "big") for pair in pairs if first <= pair <= last).decode(codec))


def fold(text: str) -> str:
    """Replace look-alikes by their base form: exactly the 216 rows of gen/lookalike.tsv, nothing more.

    Used by metrics that forgive what no reader can see (， and ,). NFKC would also fold ① into 1.
    """
    return text.translate(_fold_table())


@lru_cache(maxsize=1)
def _fold_table() -> dict[int, str]:
    rows = LOOKALIKE.read_text(encoding="utf-8").split("\n")[1:]
    return {ord(char): base for char, base, _why in (row.split("\t") for row in rows if row)}
