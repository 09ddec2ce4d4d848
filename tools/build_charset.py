"""Rebuild gen/all_words.txt, the 30,656 characters, from public standards alone.

    python -m tools.build_charset            # writes gen/all_words.txt
    python -m tools.build_charset --check    # exit code 1 when the file there differs
    python -m tools.build_charset -o FILE    # writes somewhere else

The ingredients are Unicode ranges, the frozen Unicode 3.2 database of the standard library and Python's codecs
for GBK, GB18030, Big5, Big5-HKSCS, CP932 and CP949. All of them are fixed for ever, so every Python version
builds the same bytes: 29,201 Han characters, then the other characters in tiers until the total is reached.
"""

from __future__ import annotations

import argparse
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from gen import command
from gen.charset import PACKAGED
from gen.errors import UserError

TOTAL = 30_656

# The live database differs between Python versions; this one does not.
_UNICODE = unicodedata.ucd_3_2_0

_HAN = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
_HEXAGRAMS = (0x4DC0, 0x4DFF)  # assigned after Unicode 3.2
_SOFT_HYPHEN = 0xAD  # a dash in Unicode 3.2, invisible since 4.0

_NOT_TEXT = (
    (0x0300, 0x036F),  # combining marks
    (0x0590, 0x1CFF),  # scripts that need shaping, or have no place in Chinese text
    (0x1F00, 0x1FFF),  # polytonic Greek
    (0x2400, 0x245F),  # pictures of control codes, marks for optical reading
    (0x2985, 0x2986),  # white parentheses, which FF5F and FF60 already are
    (0x2E80, 0x2FDF),  # radicals, which look like the ideographs
    (0xA000, 0xA4CF),  # Yi
    (0xE000, 0xF8FF),  # private use
    (0xFB00, 0xFDFF),  # ligatures, Arabic presentation forms
    (0xFE70, 0xFEFF),  # Arabic presentation forms
    (0xFFF0, 0xFFFF),  # specials
)


def _within(codepoint: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(low <= codepoint <= high for low, high in ranges)


def _block(*ranges: tuple[int, int]) -> set[str]:
    return {chr(codepoint) for low, high in ranges for codepoint in range(low, high + 1)}


def _two_byte(codec: str) -> set[str]:
    """Every single character to which `codec` gives a two-byte code."""
    found = set()
    for lead in range(0x81, 0xFF):
        for trail in (*range(0x40, 0x7F), *range(0x80, 0xFF)):
            try:
                text = bytes((lead, trail)).decode(codec)
            except UnicodeDecodeError:
                continue
            if len(text) == 1:
                found.add(text)
    return found


def _is_symbol(char: str) -> bool:
    """True for a visible, stand-alone BMP character that is not Han and not a second code of another one."""
    codepoint = ord(char)
    if codepoint > 0xFFFF or codepoint == _SOFT_HYPHEN or _within(codepoint, _HAN):
        return False
    if _UNICODE.category(char)[0] not in "LNPS" and not _within(codepoint, (_HEXAGRAMS,)):
        return False
    if unicodedata.normalize("NFC", char) != char:  # the Angstrom, Ohm and Kelvin signs ...
        return False
    return "HANGUL" not in unicodedata.name(char, "") and not _within(codepoint, _NOT_TEXT)


def han() -> set[str]:
    """The 29,201 ideographs: those of GB18030-2000, and what GBK, Big5 and HKSCS add (1,682 in plane 2)."""
    chars = _block((0x4E00, 0x9FA5), (0x3400, 0x4DB5))
    chars |= {char for char in _two_byte("gbk") | _two_byte("cp950") if _within(ord(char), _HAN)}
    # HKSCS lists some ideographs a second time as compatibility ideographs; those fold into the ones above.
    chars |= {
        char
        for char in _two_byte("big5hkscs")
        if _within(ord(char), _HAN) and unicodedata.normalize("NFC", char) == char
    }
    return chars


def _tiers() -> Iterator[tuple[str, set[str]]]:
    """Where the other characters come from, most wanted first; the last tier is cut at the total."""
    yield "ASCII", _block((0x21, 0x7E))
    yield "GBK", _two_byte("gbk")
    yield "GB18030, two bytes", _two_byte("gb18030")
    yield "Big5 (CP950)", _two_byte("cp950")
    yield "Big5-HKSCS", _two_byte("big5hkscs")
    yield "JIS X 0208 (CP932)", _two_byte("cp932")
    yield "KS X 1001 (CP949)", _two_byte("cp949")
    yield "CJK punctuation, kana, bopomofo, kanbun", _block((0x3001, 0x312F), (0x3190, 0x319F))
    yield "vertical, small, half- and full-width forms", _block((0xFE30, 0xFE6F), (0xFF01, 0xFFEE))
    yield "squared units", _block((0x3371, 0x33DD))
    yield "enclosed alphanumerics", _block((0x2460, 0x24FE))


def build() -> tuple[str, list[tuple[str, int]]]:
    """Return the TOTAL characters in code point order, and how many of them each source gave."""
    chars = han()
    counts = [("Han", len(chars))]
    for name, tier in _tiers():
        new = sorted(char for char in tier - chars if _is_symbol(char))[: TOTAL - len(chars)]
        chars.update(new)
        counts.append((name, len(new)))
    if len(chars) != TOTAL:  # only a Python whose codecs lack something could come here
        raise UserError(f"this Python's codecs give {len(chars)} characters, not {TOTAL}; use a stock CPython")
    return "".join(sorted(chars)), counts


def main(argv: list[str] | None = None) -> int:
    parser = command.Parser(prog="python -m tools.build_charset", description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=PACKAGED, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when FILE differs")
    return command.run(parser, argv, run, advice=lambda args, error: "choose another file with -o")


def run(args: argparse.Namespace) -> int:
    """Write or check the file; return the exit code."""
    chars, counts = build()
    for name, count in counts:
        print(f"{count:6}  {name}")
    data = ("\n".join(chars) + "\n").encode("utf-8")
    output: Path = args.output
    if args.check:
        same = output.is_file() and output.read_bytes() == data
        verdict = "is exactly what the rule builds" if same else "differs from what the rule builds"
        print(f"{len(chars):6}  in all; {output} {verdict}")
        return 0 if same else 1
    output.write_bytes(data)
    print(f"{len(chars):6}  written to {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
