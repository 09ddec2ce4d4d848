"""The report's page: one HTML file with everything in it, made by ``python -m tools.report shards``.

Inline CSS and SVG, images as data URIs, no script and no request to anywhere. Light or dark as the reader's system
is, and readable on a phone.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from gen.charset import GROUPS, Charset, describe, group_of
from tools.report_charts import bars, frequency_curve, histogram, number, percent, stacked
from tools.report_stats import Entry, Stats
from tools.report_style import STYLE

KINDS = ("never", "1–9 times", "10–99 times", "100 times or more")
MIME = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


@dataclass(frozen=True)
class Crop:
    """One character cut out of a sample, as a PNG file's bytes, with where it came from."""

    png: bytes
    source: str


@dataclass(frozen=True)
class Report:
    """All that the page shows."""

    place: str
    identity: str
    image: str
    charset: Charset
    stats: Mapping[tuple[str, str], Stats]
    planned: Mapping[tuple[str, str], int]  # samples that the set is to have
    total: Stats
    contrast: Mapping[int, int]  # grey levels between dark and light -> decoded sample images
    sheets: Mapping[str, Sequence[Entry]]  # direction -> samples
    rare: Sequence[tuple[str, int, Crop | None]]


def page(report: Report) -> str:
    """The whole HTML document."""
    total = report.total
    sections = [_totals(report), _characters(report), _lines(report)]
    if total.described:
        sections += [_fonts(report), _effects(report)]
    else:
        sections.append("<h2>Fonts and effects</h2><p>Not known: this set was made with <code>meta: none</code>.</p>")
    sections += [_rare(report), *(_sheet(report, direction) for direction in report.sheets)]
    missing = sum(max(0, count - _images(report, key)) for key, count in report.planned.items())
    state = f" {missing:,} of the planned samples are not there yet." if missing else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(report.place)}: {number(total.images)} text lines</title>"
        f"<style>{STYLE}</style></head><body><main>"
        f'<h1>{total.images:,} text lines</h1><p class="soft">{escape(report.place)} · recipe {report.identity[:12]} · '
        f"charset of {len(report.charset):,} characters ({report.charset.sha256[:12]}).{state}</p>"
        f"{''.join(sections)}</main></body></html>\n"
    )


def _images(report: Report, key: tuple[str, str]) -> int:
    return report.stats[key].images if key in report.stats else 0


def _by_direction(report: Report) -> dict[str, Stats]:
    merged: dict[str, Stats] = {}
    for (direction, _), stats in report.stats.items():
        merged.setdefault(direction, Stats()).add(stats)
    return merged


def _totals(report: Report) -> str:
    rows = []
    for name, stats in [*((" ".join(key), s) for key, s in report.stats.items()), ("all", report.total)]:
        letters = sum(stats.characters.values())
        rows.append(
            f"<tr><td>{name}</td><td>{stats.images:,}</td><td>{letters:,}</td><td>{stats.shards:,}</td>"
            f"<td>{stats.bytes / 1e6:,.1f} MB</td><td>{stats.bytes / stats.images:,.0f}</td>"
            f"<td>{stats.image_bytes / stats.images:,.0f}</td><td>{letters / stats.images:.1f}</td></tr>"
        )
    return (
        '<h2>Totals</h2><div class="card wide"><table><tr><th></th><th>images</th><th>characters</th><th>shards</th>'
        "<th>size</th><th>bytes per sample</th><th>bytes per image file</th><th>characters per line</th></tr>"
        f"{''.join(rows)}</table></div>"
    )


def _characters(report: Report) -> str:
    chars = report.charset.chars
    curves = {name: [stats.characters[char] for char in chars] for name, stats in _by_direction(report).items()}
    rows: dict[str, list[int]] = {"all": [0] * len(KINDS), **{group: [0] * len(KINDS) for group in GROUPS}}
    counts = sorted(report.total.characters[char] for char in chars)
    for char in chars:
        kind = min(len(str(report.total.characters[char])), 3) if report.total.characters[char] else 0
        rows["all"][kind] += 1
        rows[group_of(char)][kind] += 1
    rows = {name: row for name, row in rows.items() if sum(row)}
    used = sum(1 for count in counts if count)
    strays = sum(
        count for char, count in report.total.characters.items() if char not in report.charset.index and char != " "
    )
    spaces = report.total.characters[" "] if " " not in report.charset.index else 0
    notes = [
        f"{used:,} of {len(chars):,} characters occur ({percent(used, len(chars))}); the median character occurs "
        f"{counts[len(counts) // 2]:,} times, the commonest {counts[-1]:,} times.",
        f"{percent(report.total.doubled, report.total.images)} of the lines have a character twice in a row.",
        f"{spaces:,} spaces." if spaces else "",
        f"{strays:,} characters are not in the charset: run python -m tools.verify." if strays else "",
    ]
    curve = frequency_curve(curves, "characters of the charset, commonest first", "occurrences, logarithmic")
    return (
        f"<h2>Characters</h2><p>{escape(' '.join(note for note in notes if note))}</p>"
        f'<div class="card">{curve}</div>'
        f'<h3>How often the characters of each group occur</h3><div class="card">{stacked(rows, KINDS)}</div>'
    )


def _lines(report: Report) -> str:
    cards = []
    for series, (name, stats) in enumerate(_by_direction(report).items()):
        sides = (stats.widths, "width") if name == "horizontal" else (stats.heights, "height")
        across = stats.heights if name == "horizontal" else stats.widths
        cards.append(histogram(stats.lengths, "characters in a line", f"{name}: lines of that length", series))
        cards.append(histogram(sides[0], f"{sides[1]} of the image, px", f"{name}: images of that {sides[1]}", series))
        if len(across) > 1:
            cards.append(histogram(across, "extent across the line, px", f"{name}: images of that extent", series))
    if report.contrast:
        decoded = sum(report.contrast.values())
        title = f"images of that contrast, in a sample of {decoded:,}"
        cards.append(
            histogram(report.contrast, "grey levels between the 2nd and 98th percentile of pixels", title, 0, 32)
        )
    inner = "".join(f'<div class="card">{card}</div>' for card in cards)
    return f'<h2>Lines and images</h2><div class="pair">{inner}</div>'


def _fonts(report: Report) -> str:
    total = report.total
    fonts = dict(total.fonts.most_common())
    sizes = {f"{size} px": total.sizes[size] for size in sorted(total.sizes)}
    return (
        f'<h2>Fonts</h2><p>{len(fonts)} fonts, as a share of the lines.</p><div class="pair">'
        f'<div class="card">{bars(fonts, total.described, "lines")}</div>'
        f'<div class="card"><h3>Font sizes</h3>{bars(sizes, total.described, "lines")}</div></div>'
    )


def _effects(report: Report) -> str:
    total = report.total
    if not total.effects:
        return "<h2>Effects</h2><p>None was applied.</p>"
    each = {
        f"{count} effects" if count != 1 else "1 effect": total.effects_each[count]
        for count in sorted(total.effects_each)
    }
    return (
        '<h2>Effects</h2><p>As a share of the lines; a line may have several.</p><div class="pair">'
        f'<div class="card">{bars(dict(total.effects.most_common()), total.described, "lines")}</div>'
        f'<div class="card"><h3>Effects on one line</h3>{bars(each, total.described, "lines")}</div></div>'
    )


def _uri(data: bytes, kind: str) -> str:
    return f"data:{MIME[kind]};base64,{base64.b64encode(data).decode('ascii')}"


def _rare(report: Report) -> str:
    cells = []
    for char, count, crop in report.rare:
        image = (
            f'<img src="{_uri(crop.png, "png")}" alt="{escape(char)}" title="{escape(crop.source)}">' if crop else ""
        )
        cells.append(
            f'<div title="{escape(describe(char))}">{image}<b lang="zh">{escape(char)}</b>'
            f'<small>U+{ord(char):04X}</small><br><span class="soft">{count:,} ×</span></div>'
        )
    return (
        "<h2>Rarest characters</h2><p>Those that occur least often, each as a line shows it and as your system does. "
        f'Characters that never occur come first, without an image.</p><div class="rare">{"".join(cells)}</div>'
    )


def _sheet(report: Report, direction: str) -> str:
    figures = []
    for entry in report.sheets[direction]:
        facts = [str(entry.meta[name]) + unit for name, unit in (("font", ""), ("size", " px")) if name in entry.meta]
        facts += list(entry.meta.get("effects", ()))
        figures.append(
            f'<figure><img src="{_uri(entry.image, report.image)}" alt="{escape(entry.text)}" title="{entry.key}">'
            f'<div class="label" lang="zh">{escape(entry.text)}</div>'
            f"<small>{escape(' · '.join(facts))}</small></figure>"
        )
    kind = "sheet v" if direction == "vertical" else "sheet"
    return (
        f"<h2>{direction.capitalize()} samples</h2>"
        f"<p>{len(figures)} at random, at their own size, with their labels.</p>"
        f'<div class="card {kind}">{"".join(figures)}</div>'
    )
