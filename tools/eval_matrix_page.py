"""The figures of ``python -m tools.eval_matrix`` as tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gen.charset import GROUPS, fold
from tools.bench import table
from train.page import percent

SHOWN = 12  # confusions of a kind
Cells = Mapping[str, Mapping[str, Any]]
PAIRS = {"line_accuracy": "lines", "char_accuracy": "characters"}


def page(weights: Mapping[str, Any], cells: Cells) -> str:
    """All tables."""
    parts = [
        "# What was measured",
        f"`{weights['file']}`, {weights['bytes']:,} bytes, sha256 `{weights['sha256'][:12]}…`, by `python -m "
        "tools.eval_matrix`. *Folded*: look-alikes (`gen/lookalike.tsv`) are taken as equal. Shares of characters are "
        "1 - CER, in a group those of its own characters that were read right; in brackets how many lines. Spaces do "
        f"not count. {_trim(cells)} {_looks(cells)}",
        *table(("", *TOTALS), [(name, *_totals(cell)) for name, cell in cells.items()]),
    ]
    parts += _section("Groups: characters right, raw / folded", cells, "by_group", "char_accuracy", GROUPS)
    sizes = sorted({size for cell in cells.values() for size in cell["by_size"]}, key=int)
    parts += _section("Size of the type, px: lines right, raw / folded", cells, "by_size", "line_accuracy", sizes)
    for which in ("by_font_alone", "by_font"):  # the larger of the two that is there
        some = {name: cell for name, cell in cells.items() if cell.get(which)}
        if some:
            fonts = sorted({font for cell in some.values() for font in cell[which]})
            for key, what in PAIRS.items():
                parts += _section(f"Fonts: {what} right, raw / folded", some, which, key, fonts)
            break
    parts.append("## What is taken for what")
    for title, alike in (("Look-alikes", True), ("Others", False)):
        rows = [(name, _confusions(cell, alike)) for name, cell in cells.items()]
        parts += table((title, "truth → reading, how often"), rows)
    return "\n\n".join(_paragraphs(parts)) + "\n"


_TIMES = {3: "thrice", 5: "five times"}


def _trim(cells: Cells) -> str:
    if any(cell["trim"] for cell in cells.values()):
        return "Blank margins were cut off first, as `python -m infer` does."
    return "Lines were read whole, no margin was cut off."


def _looks(cells: Cells) -> str:
    looks = max(cell["looks"] for cell in cells.values())
    if looks == 1:
        return "Each was looked at once."
    return f"Those that were not sure were looked at {_TIMES[looks]}, as `python -m infer` does with `--looks {looks}`."


TOTALS = ("lines", "lines right", "folded", "characters", "characters right", "folded")


def _totals(cell: Mapping[str, Any]) -> tuple[str, ...]:
    lines, characters = (
        [percent(cell[key + end]) for end in ("", "_folded")] for key in ("line_accuracy", "char_accuracy")
    )
    return f"{cell['lines']:,}", *lines, f"{cell['characters']:,}", *characters


def _section(title: str, cells: Cells, kind: str, key: str, names: Sequence[str]) -> list[str]:
    """A row for each name, two figures for each cell; how many lines they are of stands first."""
    rows = []
    for name in names:
        scores = [cell[kind].get(name) for cell in cells.values()]
        if any(scores):
            rows.append((name, *(_pair(score, key) if score else "" for score in scores)))
    return [f"## {title}", *table(("", *cells), rows)] if rows else []


def _pair(score: Mapping[str, Any], key: str) -> str:
    raw, folded = (f"{100 * score[key + end]:.1f}" for end in ("", "_folded"))
    return f"{raw} / {folded} ({score['lines']:,})"


def _confusions(cell: Mapping[str, Any], alike: bool) -> str:
    """The commonest, of those that are told at all."""
    found = [
        f"{_visible(each['truth'])} → {_visible(each['reading'])} {each['count']:,}"
        for each in cell["confusions"]
        if (fold(each["truth"]) == fold(each["reading"])) is alike
    ]
    return ", ".join(found[:SHOWN])


def _visible(char: str) -> str:
    return {"": "∅", "|": "\\|", "*": "\\*", "_": "\\_", "`": "\\`", "<": "\\<", "\\": "\\\\"}.get(char, char)


def _paragraphs(parts: Sequence[str]) -> list[str]:
    """Rows of a table stay together."""
    result: list[str] = []
    for part in parts:
        if part.startswith("|") and result and result[-1].startswith("|") and not part.startswith("| Others"):
            result[-1] += "\n" + part
        else:
            result.append(part)
    return result
