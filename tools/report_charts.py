"""Charts as HTML and inline SVG, for `tools.report`: ``python -m tools.report shards -o report.html``.

Shapes are SVG stretched to the width of the page, words are HTML beside them, so that nothing shrinks on a phone.
Every mark has its figures in a ``<title>``. Colours are CSS variables of the page, which knows light from dark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Point = tuple[float, float]


def number(value: float) -> str:
    """A count as people read it: 1,234 or 12.3k or 4.5M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.3g}{unit}"
    return f"{value:,.0f}" if value == int(value) else f"{value:.3g}"


def percent(part: float, whole: float) -> str:
    """A share with as many digits as it deserves."""
    if not part or part == whole:
        return "100 %" if part else "0 %"
    share = min(100 * part / whole, 99.99)  # all is said of all only
    digits = 0 if 9.95 <= share < 98.5 else 1 if 0.95 <= share < 99.85 else 2
    return f"{share:.{digits}f} %"


def bars(values: Mapping[str, int], whole: int, what: str, notes: Mapping[str, str] | None = None) -> str:
    """Horizontal bars with the name on the left and the share on the right; ``whole`` is what shares are of."""
    largest = max(values.values(), default=0) or 1
    rows = []
    for name, value in values.items():
        note = f"<small>{escape(notes[name])}</small>" if notes and notes.get(name) else ""
        rows.append(
            f'<div class="bar" title="{escape(name)}: {value:,} {escape(what)}"><span class="name">{escape(name)}{note}'
            f'</span><span class="track"><i style="width:{100 * value / largest:.2f}%"></i></span>'
            f'<span class="value">{percent(value, whole)}</span></div>'
        )
    return f'<div class="bars">{"".join(rows)}</div>'


def stacked(rows: Mapping[str, Sequence[int]], kinds: Sequence[str]) -> str:
    """One bar per row, all of the same width, divided by kind; a legend above, the counts beside."""
    legend = "".join(f'<span><i class="k{k}"></i>{escape(kind)}</span>' for k, kind in enumerate(kinds))
    parts = []
    for name, counts in rows.items():
        whole = sum(counts) or 1
        pieces = "".join(
            f'<i class="k{k}" style="width:{100 * count / whole:.3f}%" '
            f'title="{escape(name)}, {escape(kinds[k])}: {count:,} characters"></i>'
            for k, count in enumerate(counts)
            if count
        )
        parts.append(
            f'<div class="bar"><span class="name">{escape(name)}</span><span class="track stack">{pieces}</span>'
            f'<span class="value">{sum(counts):,}</span></div>'
        )
    return f'<div class="legend">{legend}</div><div class="bars">{"".join(parts)}</div>'


def _ticks(high: float) -> list[float]:
    """Round values from 0 to ``high``, at most six."""
    if high <= 0:
        return [0.0]
    step = 10 ** math.floor(math.log10(high))
    step *= next(factor for factor in (0.2, 0.5, 1, 2) if high / (step * factor) <= 5)
    return [k * step for k in range(int(high / step + 1e-9) + 1)]


def _frame(shapes: str, x: Sequence[tuple[float, str]], y: Sequence[tuple[float, str]], xname: str, yname: str) -> str:
    """The plot's box: shapes drawn on 1000 x 1000 units, labels at 0-1 along each axis, and the axes' names."""
    grid = "".join(
        f'<line class="grid" x1="0" x2="1000" y1="{1000 - 1000 * at:.1f}" y2="{1000 - 1000 * at:.1f}"/>' for at, _ in y
    )
    left = "".join(f'<span style="bottom:{100 * at:.2f}%">{escape(text)}</span>' for at, text in y)
    below = "".join(f'<span style="left:{100 * at:.2f}%">{escape(text)}</span>' for at, text in x)
    return (
        f'<figure class="plot"><figcaption>{escape(yname)}</figcaption><div class="y">{left}</div>'
        f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img" aria-label="{escape(yname)}">'
        f"{grid}{shapes}</svg>"
        f'<div class="x">{below}</div><div class="xname">{escape(xname)}</div></figure>'
    )


def histogram(counts: Mapping[int, int], xname: str, yname: str, series: int, most: int = 60) -> str:
    """Columns over whole numbers, gathered into at most ``most`` bins of a round width."""
    if not counts:
        return ""
    low, high = min(counts), max(counts)
    width = next(
        w for w in (1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 200, 500, 1000, 10_000) if (high - low) / w < most
    )
    start = low // width * width
    bins = [0] * ((high - start) // width + 1)
    for value, count in counts.items():
        bins[(value - start) // width] += count
    top, step = max(bins), 1000 / len(bins)
    gap = min(step * 0.15, 6.0)
    shapes = []
    for k, count in enumerate(bins):
        first = start + k * width
        label = str(first) if width == 1 else f"{first}–{first + width - 1}"
        height = 1000 * count / top
        shapes.append(
            f'<rect class="s{series}" x="{k * step + gap / 2:.2f}" y="{1000 - height:.2f}" width="{step - gap:.2f}" '
            f'height="{height:.2f}"><title>{label}: {count:,}</title></rect>'
        )
    every = max(1, math.ceil(len(bins) / 6))
    x = [((k + 0.5) / len(bins), str(start + k * width)) for k in range(0, len(bins), every)]
    y = [(tick / top, number(tick)) for tick in _ticks(top)]
    return _frame("".join(shapes), x, y, xname, yname)


def frequency_curve(curves: Mapping[str, Sequence[int]], xname: str, yname: str) -> str:
    """Counts from the largest to the smallest on a logarithmic scale, a line per name; what never occurs lies at 0.

    The scale has one extra step at the bottom for the zeros, which a logarithm has no place for.
    """
    top = max((max(counts, default=0) for counts in curves.values()), default=0)
    decades = max(1, math.ceil(math.log10(top + 1)))
    longest = max(len(counts) for counts in curves.values())

    def height(count: float) -> float:
        return (math.log10(count) + 0.5) / (decades + 0.5) if count > 0 else 0.0

    shapes, legend = [], []
    for series, (name, counts) in enumerate(curves.items()):
        ordered = sorted(counts, reverse=True)
        # One point per unit of the drawing is as fine as it gets, and every fall of the curve is among them.
        picked = sorted({round(k * (len(ordered) - 1) / 999) for k in range(1000)}) if ordered else []
        points = " ".join(
            f"{1000 * k / max(longest - 1, 1):.1f},{1000 - 1000 * height(ordered[k]):.1f}" for k in picked
        )
        shapes.append(f'<polyline class="l{series}" points="{points}"><title>{escape(name)}</title></polyline>')
        legend.append(f'<span><i class="s{series}"></i>{escape(name)}</span>')
    x = [(tick / max(longest - 1, 1), number(tick)) for tick in _ticks(longest - 1)]
    y = [(0.0, "0"), *((height(10**k), number(10**k)) for k in range(decades + 1))]
    shown = f'<div class="legend">{"".join(legend)}</div>' if len(curves) > 1 else ""
    return shown + _frame("".join(shapes), x, y, xname, yname)
