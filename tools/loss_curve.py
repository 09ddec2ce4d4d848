"""How the loss fell, as a picture: one panel for runs that followed each other, the stages marked.

    python -m tools.loss_curve runs/h/metrics.jsonl -o loss.svg
    python -m tools.loss_curve runs/gpu-3/metrics.jsonl.xz runs/gpu-4/metrics.jsonl.xz --batch 768 -o loss.svg

The loss of a stage is not that of another: its first one is of single characters, the others' of characters in lines.
"""

from __future__ import annotations

import argparse
import itertools
import json
import lzma
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from gen import command
from gen.errors import UserError
from gen.plan import parse_size
from gen.store import LocalDraft, publish

WIDTH, HEIGHT = 860, 360
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 30, 40
POINTS = 160  # of each run; a point is the mean of the steps that fall to it
TICKS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
FINE = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0)  # where of those fewer than 3 show
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#6b6a65}.grid{stroke:#8885;stroke-width:1}"
    ".loss{fill:none;stroke:#2a78d6;stroke-width:2;stroke-linejoin:round}.stage{stroke:#888a;stroke-dasharray:3 3}"
)


@dataclass(frozen=True)
class Step:
    """A training step of one of the runs; ``stage`` with the number of its run where there are several; ``lines``: so
    many in its batch."""

    stage: str
    loss: float
    lines: int


def read_steps(path: Path, prefix: str, batch: int) -> list[Step]:
    """The steps in a ``metrics.jsonl`` or ``.xz`` of it; those that were repeated after a restart as they were last.
    ``batch``: lines in a step of older files, which do not say it. Raises `UserError`."""
    found: dict[int, Step] = {}
    try:
        with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as lines:
            for line in lines:
                if not line.endswith("\n"):  # cut off when the run was killed
                    break
                values = json.loads(line)
                if "loss" in values and math.isfinite(values["loss"]):
                    lines_of = int(values.get("batch", batch))
                    found[values["step"]] = Step(prefix + values["stage"], float(values["loss"]), lines_of)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, lzma.LZMAError, EOFError):
        raise UserError(f"{path} is no metrics.jsonl of a training run") from None
    if not found:
        raise UserError(f"{path} holds no steps of training")
    return [found[number] for number in sorted(found)]


def picture(steps: Sequence[Step]) -> str:
    """An SVG; the loss is on a logarithmic scale, in lines that were learned from left to right."""
    count = len(steps)
    learned = [0, *itertools.accumulate(step.lines for step in steps)]  # before each step, and at the end
    part = max(1, math.ceil(count / POINTS))
    means: list[tuple[int, str, float]] = []  # the middle step, its stage, the mean
    begin = 0
    while begin < count:
        end = begin + 1
        while end < min(count, begin + part) and steps[end].stage == steps[begin].stage:
            end += 1
        mean = sum(step.loss for step in steps[begin:end]) / (end - begin)
        means.append(((begin + end) // 2, steps[begin].stage, max(mean, 1e-6)))
        begin = end
    low, high = math.log(min(mean for *_, mean in means)) - 0.1, math.log(max(mean for *_, mean in means)) + 0.1

    def x(lines: float) -> str:
        return f"{LEFT + (WIDTH - LEFT - RIGHT) * lines / max(1, learned[-1]):.1f}"

    def y(loss: float) -> str:
        return f"{HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (math.log(loss) - low) / (high - low):.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        f"<title>Loss by lines learned</title><style>{STYLE}</style>",
    ]
    shown = ([tick for tick in ticks if low <= math.log(tick) <= high] for ticks in (TICKS, FINE))
    for tick in max(shown, key=lambda ticks: min(len(ticks), 3)):
        parts.append(f'<path class="grid" d="M{LEFT} {y(tick)}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(tick)}" dy="4" text-anchor="end">{tick:g}</text>')
    for quarter in range(5):
        at = learned[-1] * quarter / 4
        anchor = "end" if quarter == 4 else "middle"
        words = f"{at / 1e6:.2f} M lines" if at >= 1e4 else f"{at:,.0f} lines"
        parts.append(f'<text x="{x(at)}" y="{HEIGHT - 14}" text-anchor="{anchor}">{words}</text>')
    stages = list(dict.fromkeys(stage for _, stage, _ in means))
    for number, stage in enumerate(stages):
        points = [f"{x(learned[middle])} {y(mean)}" for middle, other, mean in means if other == stage]
        first = next(index for index, step in enumerate(steps) if step.stage == stage)
        parts.append(f'<path class="stage" d="M{x(learned[first])} {TOP - 6}V{HEIGHT - BOTTOM}"/>')
        lift = 16 if number % 2 else 4  # short stages lie close together
        parts.append(f'<text x="{x(learned[first])}" y="{TOP - lift + 2}" dx="3">{escape(stage)}</text>')
        parts.append(f'<path class="loss" d="M{"L".join(points)}"/>')
    return "\n".join([*parts, "</svg>\n"])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command.Parser(prog="python -m tools.loss_curve", description="How the loss fell, as a picture.")
    result.add_argument("metrics", nargs="+", type=Path, help="metrics.jsonl or .xz of runs, in their order")
    result.add_argument("-o", "--out", required=True, type=Path, metavar="SVG", help="the picture")
    result.add_argument(
        "--batch", default="768", metavar="N", help="lines in a step, where a file does not say it (default: 768)"
    )
    return result


def run(options: argparse.Namespace) -> None:
    """Read, draw, write. Raises `UserError`."""
    batch = parse_size(options.batch, "--batch")
    several = len(options.metrics) > 1
    runs = [read_steps(path, f"{number}: " if several else "", batch) for number, path in enumerate(options.metrics, 1)]
    try:
        publish(LocalDraft(options.out), picture([step for steps in runs for step in steps]).encode())
    except OSError as error:
        raise UserError(f"{options.out} cannot be written: {error.strerror}; give another file") from None


def main(argv: Sequence[str] | None = None) -> int:
    return command.run(parser(), argv, run)


if __name__ == "__main__":
    sys.exit(main())
