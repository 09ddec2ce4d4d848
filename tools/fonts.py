"""Show what the fonts cover, font by font and character by character.

    python -m tools.fonts                               # the catalogue's fonts that are at hand
    python -m tools.fonts --fonts DIR FILE 'FILE#2' 'FILE@wght=700'
    python -m tools.fonts --add-fonts FILE --charset my_words.txt

A character is covered when the font has a real outline for it and it is not on the font's exclusion list.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from gen import command
from gen.charset import Charset, describe, is_gb2312_hanzi, load_charset
from gen.errors import UserError
from gen.fonts import PIP_ONLY_COVERS, Font, Missing, covered_by, find_catalogue_fonts, fonts_from

COLUMNS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("total", lambda char: True),
    ("ascii", lambda char: char < "\x80"),
    ("gb2312", is_gb2312_hanzi),
    ("uro", lambda char: "\u4e00" <= char <= "\u9fa5"),
    ("ext-a", lambda char: "\u3400" <= char <= "\u4dbf"),
    ("plane 2", lambda char: "\U00020000" <= char <= "\U0002ffff"),
)
BUCKETS = ("0", "1", "2", "3", "4-5", "6+")
_SHOWN = 200  # uncovered characters that are printed before "and N more"


def bucket(count: int) -> str:
    """Return which of BUCKETS a number of fonts falls into."""
    return str(count) if count < 4 else "4-5" if count < 6 else "6+"


def coverage(fonts: Sequence[Font], charset: Charset) -> dict[str, str]:
    """Return font name -> the characters of the charset that it draws; UserError for a font that draws none."""
    with tqdm(fonts, unit="font", leave=False, disable=None) as bar:
        return {font.name: covered_by(font, charset.chars) for font in bar}


def table(fonts: Sequence[Font], covered: dict[str, str], charset: Charset) -> list[str]:
    """Return the lines of the table: a row per font, a column per group, the charset's own totals on top."""
    width = max([len("charset"), *(len(font.name) for font in fonts)]) + 2
    style = max([len("style"), *(len(font.style) for font in fonts)]) + 2

    def row(name: str, note: str, cells: Sequence[str]) -> str:
        return f"{name:{width}}{note:{style}}" + "".join(f"{cell:>9}" for cell in cells)

    def counts(chars: str) -> list[str]:
        return [str(sum(map(belongs, chars))) for _, belongs in COLUMNS]

    lines = [row("font", "style", [name for name, _ in COLUMNS]), row("charset", "", counts(charset.chars))]
    return lines + [row(font.name, font.style, counts(covered[font.name])) for font in fonts]


def histogram(covered: dict[str, str], charset: Charset) -> tuple[list[str], str]:
    """Return the lines "characters in N fonts", and the characters in none."""
    fonts_per_char = Counter(char for chars in covered.values() for char in chars)
    buckets = Counter(bucket(fonts_per_char[char]) for char in charset.chars)
    lines = ["characters in ... fonts"]
    lines += [f"{name:>5} {buckets[name]:7}  {buckets[name] / len(charset):6.1%}" for name in BUCKETS]
    return lines, "".join(char for char in charset.chars if not fonts_per_char[char])


def uncovered_lines(chars: str) -> list[str]:
    """Return the lines that name the characters which no font draws."""
    if not chars:
        return ["every character is covered"]
    more = f" and {len(chars) - _SHOWN} more" if len(chars) > _SHOWN else ""
    # Some are invisible or combine with their neighbours (control characters, marks): those are named.
    shown = " ".join(char if char.isprintable() and not char.isspace() else describe(char) for char in chars[:_SHOWN])
    return [f"{len(chars)} characters are covered by no font:", shown + more]


def choose(replace: Sequence[str] | None, add: Sequence[str]) -> tuple[list[Font], list[Missing], list[str]]:
    """Return the fonts for --fonts and --add-fonts, the missing catalogue fonts, and warnings."""
    if replace is not None:
        return fonts_from([*replace, *add]), [], []
    fonts, missing, warnings = find_catalogue_fonts()
    known = {font.name for font in fonts}
    return fonts + [font for font in fonts_from(add) if font.name not in known], missing, warnings


def run(replace: Sequence[str] | None, add: Sequence[str], charset_path: Path | None) -> int:
    """Print everything; return the exit code."""
    charset = load_charset(charset_path)
    fonts, missing, warnings = choose(replace, add)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if not fonts:
        raise UserError("no font is at hand; run: python -m tools.fetch_fonts")
    covered = coverage(fonts, charset)
    lines, uncovered = histogram(covered, charset)
    print("\n".join([*table(fonts, covered, charset), "", *lines, "", *uncovered_lines(uncovered)]))
    for font in missing:
        print(f"missing: {font.name}: {font.reason}")
    if missing and all(font.path.parent.name == "pylopdf_fonts_zh_cn" for font in fonts):
        print(f"only the pip fonts were found: they cover {PIP_ONLY_COVERS:,} of the 30,656 characters")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Parse the command line; return the exit code."""
    parser = command.Parser(prog="python -m tools.fonts", description=__doc__.splitlines()[0])
    parser.add_argument("--fonts", nargs="+", metavar="F", help="DIR, FILE, FILE#2 or FILE@wght=700, for the catalogue")
    parser.add_argument("--add-fonts", nargs="+", metavar="F", default=[], help="the same, besides the catalogue")
    parser.add_argument("--charset", type=Path, metavar="FILE", help="default: the packaged 30,656 characters")
    return command.run(parser, argv, lambda args: run(args.fonts, args.add_fonts, args.charset))


if __name__ == "__main__":
    sys.exit(main())
