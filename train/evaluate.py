"""Measure how well weights read: accuracies by direction, group of characters, font and size, and what is confused.

    python -m train.evaluate --weight-path runs/h/weights.pt --data shards/horizontal --html worst.html
    python -m train.evaluate --data gen:eval-classic --direction horizontal --num 1000 --seed 7

Without ``--weight-path`` the packaged weights are judged; `tools.eval_matrix` takes all evaluation recipes. An older
project's checkpoint needs its ``--charset``. Lines are read whole, no margin is cut off.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from pathlib import Path
from typing import Any

from gen import command

if __name__ == "__main__":
    command.quiet("python -m train.evaluate")  # torch takes seconds

import numpy as np
from tqdm import tqdm

from gen.charset import describe, load_charset
from gen.contract import document
from gen.errors import UserError
from gen.plan import parse_size
from gen.store import LocalDraft, publish
from gen.stream import DIRECTIONS, SPLITS
from train.checkpoint import Weights, load_weights
from train.codec import Codec
from train.dist import joined
from train.given import Given
from train.image import prepare
from train.metrics import Score, Tally
from train.packed import EXACT
from train.page import Mistake, page, percent
from train.reading import read_lines
from train.rendered import PREFIX, Ingredients
from train.source import Ints, Item, Source, evenly

DRAWN = 1000  # lines of each direction, when they are drawn for the purpose
CHUNK = 1024  # lines held at a time; within them, those of like width are read together
WORST = 100  # lines on the page
SHOWN = 5  # confusions in the summary
Reads = Callable[[Sequence[Item], str], Iterable[tuple[Sequence[int], Sequence[str]]]]
"""Lines of a direction to text, some at a time: which of them they are, what they say."""


@dataclass
class Evaluation:
    """What was measured. ``unknown``: the labels' characters that the network has no class for, and how often; they
    count as errors like others. ``worst``: the lines with most errors for their length, worst first."""

    tally: Tally
    unknown: Counter[str] = field(default_factory=Counter)
    worst: list[Mistake] = field(default_factory=list)

    def add(self, item: Item, direction: str, reading: str, codec: Codec) -> None:
        """Take in a line."""
        errors = self.tally.add(item.text, reading, item.font, item.size, direction)
        classes = codec.charset.index
        self.unknown.update(char for char in item.text if char not in classes and char != " ")
        if errors:
            share = errors / max(1, len(item.text))
            note = " · ".join(word for word in (item.key, item.font, f"{item.size} px" if item.size else "") if word)
            self.worst.append(Mistake(share, note, item.pixels, item.text, reading))
            if len(self.worst) >= 8 * WORST:
                self.worst = self.ranked()

    def ranked(self) -> list[Mistake]:
        """The worst lines, worst first."""
        return nlargest(WORST, self.worst, key=lambda mistake: (mistake.share, mistake.note))


def choose(source: Source, num: int | None) -> Ints:
    """Which samples are read: the first ones of an endless source; else all, or ``num`` evenly spread; int64 [n]."""
    if num is None:
        num = DRAWN if source.blocks is None else int(source.blocks.sum())
    return evenly(source, num)


def evaluate(weights: Weights, sources: Sequence[Source], num: int | None, batch: int, device: Any) -> Evaluation:
    """Read lines of the sources, ``num`` of each (None: all, of endless ones `DRAWN`). Raises `UserError`."""
    net = weights.net.to(device)

    def read(items: Sequence[Item], direction: str) -> Iterator[tuple[list[int], list[str]]]:
        lines = [prepare(item.pixels, direction, weights.image) for item in items]
        return read_lines(net, weights.codec, lines, weights.image.room, batch, device)

    return measure(read, weights.codec, [(source, choose(source, num)) for source in sources])


def measure(
    read: Reads, codec: Codec, parts: Sequence[tuple[Source, Ints]], description: str = "reading"
) -> Evaluation:
    """Have lines read, the given ones of each source. ``codec``: of the weights that read. Raises `UserError`."""
    result = Evaluation(Tally(codec.space))
    total = sum(len(ids) for _, ids in parts)
    with tqdm(total=total, desc=description, unit="line", disable=None, leave=False) as bar:
        for source, ids in parts:
            for items in _chunks(source, ids):
                for places, texts in read(items, source.direction):
                    for place, text in zip(places, texts):
                        result.add(items[place], source.direction, text, codec)
                    bar.update(len(texts))
    result.worst = result.ranked()
    return result


def _chunks(source: Source, ids: Ints) -> Iterator[list[Item]]:
    """The samples, `CHUNK` at a time, the blocks of the next ones being fetched meanwhile."""
    ends = None if source.blocks is None else np.cumsum(source.blocks)
    for first in range(0, len(ids), CHUNK):
        if ends is not None:
            near = np.searchsorted(ends, ids[first : first + 2 * CHUNK], side="right")
            source.prefetch(np.unique(near).tolist())
        yield source.read(ids[first : first + CHUNK].tolist())


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = command.Parser(prog="python -m train.evaluate", description="Measure how well weights read.")
    add = result.add_argument
    add("--weight-path", metavar="W", help="ours or the older project's (default: the packaged weights)")
    add("--data", required=True, metavar="PLACE", help="shards: a directory or URL; or gen:CONFIG to draw the lines")
    add("--split", choices=SPLITS, default="val", help="of the data (default: val)")
    add("--direction", choices=DIRECTIONS, help="of the lines (default: all that the data have and the weights read)")
    add("--num", metavar="N", help=f"lines of each direction (default: all; {DRAWN:,} of gen:)")
    add("--seed", type=int, metavar="S", help="of gen: lines (default: the configuration's)")
    add("--fonts", nargs="+", default=[], metavar="PATH", help="for gen: lines (default: the catalogue's)")
    add("--set", action="append", default=[], metavar="A.B=C", help="change the configuration of gen:; may be repeated")
    add("--charset", metavar="FILE", help="what an older checkpoint was trained with; ours know theirs")
    add("--json", type=Path, metavar="F", help="write all figures there")
    add("--html", type=Path, metavar="F", help="write a page there, with the worst lines")
    add("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    add("--batch-size", default="64", metavar="N", help="lines read together (default: 64)")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0, 2 for what the user can mend, 130 when stopped."""
    return command.run(parser(), argv, run, stopped=lambda args: "nothing was written")


def run(args: argparse.Namespace) -> int:
    """Measure, print, write; the exit code. Raises `UserError`."""
    if args.weight_path is None:
        if not EXACT.is_file():
            raise UserError(f"no weights: {EXACT.name} is not in this installation; give --weight-path FILE")
        args.weight_path = str(EXACT)
    command.check_output(args.json, "--json")
    command.check_output(args.html, "--html")
    num = parse_size(args.num, "--num") if args.num else None
    batch = parse_size(args.batch_size, "--batch-size")
    weights = load_weights(args.weight_path, load_charset(args.charset) if args.charset else None, args.direction)
    sources = open_data(args, weights)
    ours = weights.codec.charset
    for source in sources:
        if source.charset.sha256 != ours.sha256:
            _say(
                f"{args.weight_path} reads {len(ours):,} characters ({ours.sha256[:12]}), {source.name} is made of "
                f"{len(source.charset):,} ({source.charset.sha256[:12]}): those that it cannot read count as errors"
            )
    begin = time.perf_counter()
    with joined(args.device) as world:
        found = evaluate(weights, sources, num, batch, world.device)
        rate = found.tally.total.lines / (time.perf_counter() - begin)
        facts = {
            "weights": args.weight_path,
            "data": args.data,
            "split": args.split,
            "charset": ours.sha256,
            "identities": {source.direction: source.identity for source in sources},
            "lines_per_s": round(rate, 1),
            "device": world.device.type,
        }
    print(summary(found, facts), flush=True)
    unknown = {"characters": found.unknown.total(), "different": "".join(sorted(found.unknown))}
    if args.json:
        write(args.json, document({**found.tally.to_dict(), "unknown": unknown, **facts}), "--json")
    if args.html:
        title = f"{args.weight_path} on {args.data}, {args.split}"
        write(args.html, page(title, found.tally, found.worst).encode(), "--html")
    return 0


def open_data(args: argparse.Namespace, weights: Weights) -> list[Source]:
    """The sources that ``--data`` names, as far as the weights read their direction. Raises `UserError`."""
    drawn = args.data.startswith(PREFIX)
    if not drawn and (args.seed is not None or args.fonts or args.set):
        raise UserError(f"--seed, --fonts and --set are for lines drawn with --data gen:CONFIG, not for {args.data}")
    sets = (*args.set, f"seed={args.seed}") if args.seed is not None else tuple(args.set)
    ingredients = Ingredients(weights.codec.charset, tuple(args.fonts), (), sets)
    direction = args.direction or (weights.directions[0] if drawn and len(weights.directions) == 1 else None)
    sources, _ = Given((args.data,), direction, ingredients).open(args.split)
    readable = [source for source in sources if source.direction in weights.directions]
    if not readable:
        raise UserError(
            f"{args.weight_path} reads {weights.directions[0]} lines, but {args.data} holds {sources[0].direction} ones"
        )
    if len(readable) < len(sources):
        _say(f"only the {readable[0].direction} lines are read: {args.weight_path} is for no others")
    return readable


def summary(found: Evaluation, facts: dict[str, Any]) -> str:
    """What is printed: the scores as a table, then the commonest confusions."""
    tally = found.tally
    head = ("", "lines", "characters", "lines right", "folded", "characters right", "folded")
    rows: list[tuple[str, ...]] = [head, _row("all", tally.total)]
    for scores in tally.tables().values():
        if len(scores) > 1:
            rows += [
                ("",) * 7,
                *(_row(f"{name} px" if name.isdigit() else name, score) for name, score in scores.items()),
            ]
    widths = [max(map(len, column)) for column in zip(*rows)]
    table = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    words = [
        f"{facts['weights']} on {facts['data']}, {facts['split']}, {facts['device']}, "
        f"{facts['lines_per_s']:,} lines/s; spaces {'count' if tally.space else 'do not count'}",
        *table,
    ]
    if found.unknown:
        some = ", ".join(describe(char) for char, _ in found.unknown.most_common(3))
        words.append(
            f"{found.unknown.total():,} characters, {len(found.unknown):,} different ones, are none that the weights "
            f"can read: {some}{', …' if len(found.unknown) > 3 else ''}"
        )
    if tally.confusions:
        pairs = [f"{truth or 'nothing'} as {read or 'nothing'} {n}×" for (truth, read), n in tally.common_confusions()]
        words.append(f"read wrong most often: {', '.join(pairs[:SHOWN])}")
    return "\n".join(words)


def _row(name: str, score: Score) -> tuple[str, ...]:
    shares = (score.line_accuracy, score.line_accuracy_folded, score.char_accuracy, score.char_accuracy_folded)
    return name, f"{score.lines:,}", f"{score.characters:,}", *map(percent, shares)


def _say(text: str) -> None:
    command.say(f"python -m train.evaluate: {text}")


def write(path: Path, data: bytes, flag: str) -> None:
    """A file under its name once all of it is there. Raises `UserError`."""
    try:
        publish(LocalDraft(path), data)
    except OSError as error:
        raise UserError(f"{flag} {path} cannot be written: {error.strerror}; give another file") from None


if __name__ == "__main__":
    sys.exit(main())
