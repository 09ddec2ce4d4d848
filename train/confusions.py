"""Hard lines: characters that a network takes for one another, side by side, for a stage that tells them apart.

The network reads rendered lines; every character it misreads makes a pair with what it read. Lines are put together
from such pairs, the commoner ones more often, some with a character said twice, and given to the recipe as a text.

    python -m train --config train-cpu --data gen:gen-default --out runs/h     # its last stage does this
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from gen.charset import fold
from gen.stream import DIRECTIONS
from train.codec import Codec
from train.dist import World
from train.given import Given
from train.image import ImageSpec, prepare
from train.metrics import align
from train.model import Net
from train.reading import read_lines
from train.rendered import RenderedSource
from train.source import Item

LOOKED_AT = 12_000  # lines, over all directions
ROUND = 500  # lines that a process reads before all meet again, so that a slower one is waited for
WRITTEN = 20_000
SEED = 0xC0FFEE  # a stream of its own


def find_confusions(net: Net, codec: Codec, given: Given, image: ImageSpec, path: Path, world: World) -> int:
    """Write the hard lines to ``path`` on every machine; how many different pairs are in them."""
    pairs = misread(net, codec, given, image, world)
    world.write(path, _hard_lines(pairs, codec.charset.chars).encode())
    return len(pairs)


def misread(net: Net, codec: Codec, given: Given, image: ImageSpec, world: World) -> Counter[tuple[str, str]]:
    """How often each character was read as which other one; look-alikes that fold into one do not count. Every process
    reads its share, and knows all of it at the end."""
    directions = DIRECTIONS if given.direction is None else (given.direction,)
    ingredients = replace(given.ingredients, charset=codec.charset, seed=SEED)
    pairs: Counter[tuple[str, str]] = Counter()
    for direction in directions:
        source = RenderedSource.from_spec(given.recipe, direction, "train", ingredients)
        wanted = range(LOOKED_AT // len(directions))
        for first in range(0, len(wanted), ROUND * world.size):
            own = wanted[first + world.rank : first + ROUND * world.size : world.size]
            for each in world.gather(_pairs(source.read(own), direction, net, codec, image, world)):
                pairs.update(each)
    return pairs


def _pairs(
    items: Sequence[Item], direction: str, net: Net, codec: Codec, image: ImageSpec, world: World
) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    lines = [prepare(item.pixels, direction, image) for item in items]
    for chosen, texts in read_lines(net, codec, lines, image.room, 64, world.device):
        for number, text in zip(chosen, texts):
            found.update(
                (truth, read)
                for truth, read in align(items[number].text.replace(" ", ""), text.replace(" ", ""))
                if truth and read and fold(truth) != fold(read)
            )
    return found


def _hard_lines(pairs: Counter[tuple[str, str]], chars: str) -> str:
    """Lines of four to seven characters, each from two or three pairs; of single ones when nothing was misread."""
    if not pairs:
        return "\n".join(chars) + "\n"
    rng = np.random.Generator(np.random.Philox(key=np.array([SEED, len(pairs)], np.uint64)))
    ranked = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
    weights = np.sqrt([count for _, count in ranked])  # the commonest would crowd out all others
    lines = []
    chosen = rng.choice(len(ranked), (WRITTEN, 3), p=weights / weights.sum())
    for row, shape in zip(chosen, rng.random((WRITTEN, 3))):
        words = ["".join(ranked[k][0]) for k in row[: 2 + (shape[0] < 0.5)]]
        if shape[1] < 0.3:
            words[0] = words[0][0] * 2 + words[0][1]
        if shape[2] < 0.5:
            words[-1] = words[-1][::-1]
        lines.append("".join(words))
    return "\n".join(lines) + "\n"
