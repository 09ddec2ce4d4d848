"""An evaluation as one HTML file: scores, confusions, and the lines that were read worst, with what is wrong in them.

    python -m train.evaluate --weight-path W --data shards/horizontal --html worst.html

Inline CSS, images as data URIs, no script and no request to anywhere; light or dark as the reader's system is.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from gen.charset import describe, fold
from gen.image import encode_image
from train.metrics import Score, Tally, align

TITLES = {"by_direction": "Directions", "by_group": "Characters", "by_font": "Fonts", "by_size": "Sizes"}
NOTES = {
    "by_group": "The lines of a group are those that have a character of it; its characters are right when they were "
    "read as they are. A character put in where there is none belongs to no group."
}
HEAD = "<th>lines</th><th>characters</th><th>lines right</th><th>folded</th><th>characters right</th><th>folded</th>"
STYLE = """
:root{color-scheme:light;--page:#f7f7f5;--card:#fff;--ink:#1b1b19;--soft:#5c5b57;--line:#deddd8;--bad:#d03b3b;
  --badback:#fbe3e1;--mild:#8a5a00;--mildback:#fbefd0}
@media (prefers-color-scheme:dark) {
  :root{color-scheme:dark;--page:#131312;--card:#1c1c1a;--ink:#f2f1ec;--soft:#a9a8a1;--line:#373632;--bad:#ff8f8a;
  --badback:#4a1f1d;--mild:#f0c060;--mildback:#413212}
}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI","Noto Sans","Noto Sans SC",sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 16px 64px}
h1{font-size:1.4rem;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:36px 0 4px}
p{margin:4px 0 10px;max-width:75ch}
.soft,small,th{color:var(--soft)}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px;margin:8px 0;overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;min-width:100%}
th,td{padding:4px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;font-weight:400}
tr:last-child td{border-bottom:0}
th:first-child,td:first-child{text-align:left}
.confused{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:8px}
.confused div{border:1px solid var(--line);border-radius:6px;padding:4px 10px}
.confused b,.cells{font-size:1.25rem;font-weight:400}
.worst{display:flex;flex-wrap:wrap;gap:8px;align-items:flex-start}
.worst .card{margin:0;max-width:100%}
.mistake{display:flex;flex-wrap:wrap;gap:6px 20px;align-items:flex-start}
.mistake img{max-width:100%;height:auto;border:1px solid var(--line)}
.cells span{display:inline-grid;text-align:center;min-width:1.2em;line-height:1.45;padding:0 1px}
.cells i{font-style:normal}
.bad{color:var(--bad);background:var(--badback)}
.mild{color:var(--mild);background:var(--mildback)}
"""


@dataclass(frozen=True)
class Mistake:
    """A line that was misread. ``share``: errors for each character; ``pixels``: grey uint8 [H, W] as in the file."""

    share: float
    note: str
    pixels: NDArray[np.uint8]
    truth: str
    reading: str


def percent(share: float) -> str:
    """A share of 1, rounded down so that only all of it is 100 %."""
    return f"{math.floor(share * 10_000 + 1e-9) / 100:.2f} %"


def page(title: str, tally: Tally, worst: Sequence[Mistake]) -> str:
    """The whole HTML document."""
    tables = [
        f"<h2>{TITLES[name]}</h2><p>{NOTES.get(name, '')}</p>{_table(scores, ' px' if name == 'by_size' else '')}"
        for name, scores in tally.tables().items()
        if scores
    ]
    spaces = "Spaces count as characters." if tally.space else "Spaces do not count."
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main><h1>{escape(title)}</h1>"
        f'<p class="soft">{spaces} Characters right: 1 less the edits needed for each character. Folded: look-alikes '
        f"such as ， and , are taken as equal.</p>{_table({'all': tally.total})}{_worst(worst, tally.space)}"
        f"{_confusions(tally)}{''.join(tables)}</main></body></html>\n"
    )


def _table(scores: Mapping[str, Score], unit: str = "") -> str:
    rows = []
    for name, score in scores.items():
        shares = (score.line_accuracy, score.line_accuracy_folded, score.char_accuracy, score.char_accuracy_folded)
        cells = "".join(
            f"<td>{cell}</td>" for cell in (f"{score.lines:,}", f"{score.characters:,}", *map(percent, shares))
        )
        rows.append(f"<tr><td>{escape(name)}{unit}</td>{cells}</tr>")
    return f'<div class="card"><table><tr><th></th>{HEAD}</tr>{"".join(rows)}</table></div>'


def _worst(worst: Sequence[Mistake], space: bool) -> str:
    if not worst:
        return "<h2>Worst lines</h2><p>Every line was read right.</p>"
    cards = []
    for mistake in worst:
        image = base64.b64encode(encode_image(mistake.pixels, "png", 0)).decode("ascii")
        cards.append(
            f'<div class="card mistake"><img src="data:image/png;base64,{image}" alt="{escape(mistake.truth)}">'
            f'<div><div class="cells" lang="zh">{_cells(mistake, space)}</div><small>{escape(mistake.note)}</small>'
            "</div></div>"
        )
    return (
        f"<h2>Worst lines</h2><p>The {len(worst)} with most errors for their length: above what they say, below what "
        'was read, <span class="bad">different</span> or a <span class="mild">look-alike</span>; ∅ is nothing.</p>'
        f'<div class="worst">{"".join(cards)}</div>'
    )


def _cells(mistake: Mistake, space: bool) -> str:
    """Label and reading one above the other, character by character."""
    texts = (mistake.truth, mistake.reading)
    cells = []
    for pair in align(*(text if space else text.replace(" ", "") for text in texts)):
        above, below = (escape(_visible(char)) for char in pair)
        kind = "" if pair[0] == pair[1] else ' class="mild"' if fold(pair[0]) == fold(pair[1]) else ' class="bad"'
        cells.append(f"<span{kind}><i>{above}</i><i>{below}</i></span>")
    return "".join(cells)


def _visible(char: str) -> str:
    return {"": "∅", " ": "␣"}.get(char, char)


def _confusions(tally: Tally) -> str:
    if not tally.confusions:
        return ""
    cells = []
    for (truth, reading), count in tally.common_confusions():
        names = " read as ".join(describe(char) if char else "nothing" for char in (truth, reading))
        cells.append(
            f'<div title="{escape(names)}"><b lang="zh">{escape(_visible(truth))} → {escape(_visible(reading))}</b> '
            f"<small>{count:,} ×</small></div>"
        )
    return (
        f"<h2>Commonest confusions</h2><p>What was there → what was read, of {tally.confusions.total():,} errors.</p>"
        f'<div class="card confused">{"".join(cells)}</div>'
    )
