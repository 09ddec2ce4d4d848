"""What ``--data`` names: places with weights, opened as sources of lines.

python -m train --data shards/horizontal=0.8 --data shards/real=0.2 --out runs/h
python -m train --data http://host/shards --data gen:configs/gen-default.yaml=0.5 --out runs/both
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from gen.charset import Charset, describe
from gen.config import load_recipe
from gen.errors import UserError
from gen.stream import DIRECTIONS
from train.chosen import short
from train.codec import Codec, frames_needed
from train.config import Stage
from train.dist import World
from train.image import ImageSpec, prepare
from train.model import Net
from train.rendered import PREFIX, Ingredients, RenderedSource
from train.shards import CACHE_BYTES, BadShard, NoSamples, open_sources
from train.source import Source

T = TypeVar("T")
LOOKED_AT = 2000  # lines that are read before training to see whether their labels fit
RUNS = 10  # stretches that these lie in: every block of a server that is touched is a download
TOLERATED = 0.001  # of all lines may be too long for their frames
WRITTEN = ("prose", "text")  # sources of a recipe whose lines say something
DEFAULT = PREFIX + "gen-default"
NO_TEXT = tuple(f"corpus.{name}=0" for name in WRITTEN)


@dataclass(frozen=True)
class Given:
    """The user's choice of data. ``places``: as written on the command line; ``direction`` None: all there are."""

    places: tuple[str, ...]
    direction: str | None = None
    ingredients: Ingredients = field(default_factory=Ingredients)
    cache: Path | None = None
    cache_bytes: int = CACHE_BYTES
    excluded: tuple[tuple[str, str], ...] = ()  # name of a source and of a bad shard in it

    @property
    def recipe(self) -> str:
        """The recipe of rendered lines that go with these data: the first one named, else the default one."""
        places = [place for place, _ in map(parse_place, self.places)]
        return next((place for place in places if place.startswith(PREFIX)), DEFAULT)

    def settled(self, charset: Charset, directions: Sequence[str]) -> Given:
        """The same with a run's charset, and its one direction if it has one, for lines that are still to be drawn."""
        direction = directions[0] if len(directions) == 1 else self.direction
        return replace(self, direction=direction, ingredients=replace(self.ingredients, charset=charset))

    def open(self, split: str, add: Sequence[str] = (), sets: Sequence[str] = ()) -> tuple[list[Source], list[float]]:
        """All sources and their weights, which add up to 1; those of ``add`` count beside a total of 1.

        A place that holds both directions gives two sources that share its weight by their sizes. Raises `UserError`.
        """
        sources: list[Source] = []
        weights: list[float] = []
        for places, scale in ((self.places, True), (tuple(add), False)):
            named = [parse_place(text) for text in places]
            total = sum(weight for _, weight in named) if scale else 1.0
            for place, weight in named:
                found = self._open(place, split, sets)
                sources += found
                counts = [1 if source.blocks is None else int(source.blocks.sum()) for source in found]
                weights += [weight / total * count / max(1, sum(counts)) for count in counts]
        total = sum(weights)
        return sources, [weight / total for weight in weights]

    def _open(self, place: str, split: str, sets: Sequence[str]) -> list[Source]:
        wanted = DIRECTIONS if self.direction is None else (self.direction,)
        if place.startswith(PREFIX):
            ingredients = replace(self.ingredients, sets=(*self.ingredients.sets, *sets))
            return [RenderedSource.from_spec(place, direction, split, ingredients) for direction in wanted]
        found = _opened(place, split, self.cache, self.cache_bytes, self.excluded, wanted)
        chosen = [source for source in found if source.direction in wanted]
        if not chosen:
            there = " and ".join(source.direction for source in found)
            raise UserError(
                f"--data {place} holds {there} lines, not {self.direction} ones: give the other --direction"
            )
        return [*chosen]


_opened = lru_cache(maxsize=16)(open_sources)  # a stage needs no server to be asked again for what is known


def without_bad(given: Given, failure: UserError | None, skip: int, world: World) -> Given | None:
    """Agree with the other processes on what to leave out after an attempt at reading that failed in some of them.

    None when it failed in none; else the data without the shards that are bad. Raises a failure as it was when there is
    one of another kind, or when more than ``skip`` shards would be missing; `NoSamples` only when there is no other.
    """
    failures = [each for each in world.gather(failure) if each is not None]
    if not failures:
        return None
    bad = [each for each in failures if isinstance(each, BadShard)]
    known = {*given.excluded, *((each.source, each.shard) for each in bad)}
    if len(bad) < len(failures) or len(known) > skip:
        raise min(failures, key=lambda each: isinstance(each, NoSamples))
    return replace(given, excluded=tuple(sorted(known)))


def open_agreed(given: Given, skip: int, world: World, attempt: Callable[[Given], T]) -> tuple[Given, T]:
    """What ``attempt`` makes of the data once no process meets a bad shard, and the data without those left out.

    Raises `UserError`, in all processes alike, as `without_bad` does.
    """
    while True:
        failure, made = None, None
        try:
            made = attempt(given)
        except UserError as error:
            failure = error
        rest = without_bad(given, failure, skip, world)
        if rest is None:
            assert made is not None
            return given, made
        given = rest


def parse_place(text: str) -> tuple[str, float]:
    """``shards/h=0.8`` as place and weight, which is 1 where none is given. Raises `UserError`."""
    place, equals, number = text.rpartition("=")
    if "?" in place:  # the = belongs to a query
        return text, 1.0
    try:
        weight = float(number) if equals else 1.0
    except ValueError:
        return text, 1.0  # the = belongs to the name
    place = place if equals else text
    if not place or not 0 < weight < float("inf"):
        raise UserError(f"--data {text}: write it as PLACE or PLACE=WEIGHT with a weight above 0")
    return place, weight


def common_charset(sources: Sequence[Source], wanted: Charset | None) -> Charset:
    """The charset of a run: the one asked for, else the largest of the sources', which must have all of the others'.

    Raises `UserError` naming a character that it lacks and the source which has it.
    """
    charset = wanted or max((source.charset for source in sources), key=len)
    for source in sources:
        lacking = [char for char in source.charset.chars if char not in charset.index]
        if lacking and source.charset.sha256 != charset.sha256:
            raise UserError(
                f"{source.name} has the charset {source.charset.sha256[:12]} with {describe(lacking[0])}"
                f"{f' and {len(lacking) - 1} more' if len(lacking) > 1 else ''} that the run's charset "
                f"{charset.sha256[:12]} lacks: give --charset FILE with all of them"
            )
    return charset


def open_stage(
    given: Given, stage: Stage, shift: int = 0, alike: Path | None = None
) -> tuple[list[Source], list[float]]:
    """The training lines of a stage, with their weights; ``alike``: the table that `train.alike` wrote for it;
    ``shift`` is added to the seeds of rendered lines, so that no stage draws those of another.

    The loss frames takes sources that have boxes, and lines drawn for it when none has. Raises `UserError`.
    """
    sets = _sets(stage)
    table = None if alike is None else (alike, stage.alike)
    given = replace(given, ingredients=replace(given.ingredients, shift=shift, alike=table))
    sources, weights = given.open("train", stage.add, sets)
    if stage.loss == "frames":
        boxed = [_has_boxes(source) for source in sources]
        if not any(boxed):
            sources, weights = replace(given, places=(given.recipe,)).open("train", sets=sets)
            boxed = [True] * len(sources)
        total = sum(weight for weight, has in zip(weights, boxed) if has)
        weights = [weight / total for weight, has in zip(weights, boxed) if has]
        sources = [source for source, has in zip(sources, boxed) if has]
    if stage.longest is not None:
        sources = [source if source.blocks is None else short(source, stage.longest) for source in sources]
    if alike is not None and not _may_change(sources):
        ingredients = replace(given.ingredients, alike=(alike, 1.0), sets=(*given.ingredients.sets, *NO_TEXT))
        besides = replace(given, places=(DEFAULT,), ingredients=ingredients)
        more, shares = besides.open("train", sets=sets)
        if not _may_change(more):
            raise UserError(
                f"stage {stage.name}: alike is {stage.alike:g}, and with its sets all drawn lines are text, "
                "which stays as it is: set alike to 0, or leave corpus.uniform above 0"
            )
        weights = [w * (1 - stage.alike) for w in weights] + [w * stage.alike for w in shares]
        sources = [*sources, *more]
    return sources, weights


def _may_change(sources: Sequence[Source]) -> bool:
    """Whether lines are drawn that say nothing, so that their characters may be others."""
    drawn = [source.recipe.deck.share for source in sources if isinstance(source, RenderedSource)]
    return any(set(share) - set(WRITTEN) for share in drawn)


def check_stage(given: Given, stage: Stage, sources: Sequence[Source]) -> None:
    """Refuse what `open_stage` would; ``sources``: of the data, all of them. Raises `UserError`."""
    sets = (*given.ingredients.sets, *_sets(stage))
    drawn = {place for place, _ in map(parse_place, (*given.places, *stage.add)) if place.startswith(PREFIX)}
    for place in drawn or {DEFAULT}:
        load_recipe(place.removeprefix(PREFIX) or None, sets)
    if stage.alike and not drawn:
        load_recipe(DEFAULT.removeprefix(PREFIX), (*NO_TEXT, *sets))
    added = tuple(place for place in stage.add if parse_place(place)[0] not in drawn)
    more = replace(given, places=added).open("train")[0] if added else []
    common_charset([*sources, *more], given.ingredients.charset)
    if stage.longest is not None and stage.loss == "ctc":
        for source in (*sources, *more):
            if source.blocks is not None:
                short(source, stage.longest)


def _sets(stage: Stage) -> list[str]:
    """``--set`` values for the recipes of a stage's rendered lines."""
    if stage.longest is None:
        return [*stage.sets]
    return [*stage.sets, "corpus.length.low=1", f"corpus.length.below=[{stage.longest + 1}]"]


def _has_boxes(source: Source) -> bool:
    """Whether a source knows where its characters are; one line tells for all."""
    empty = source.blocks is not None and not source.blocks.sum()
    return not empty and source.read([0])[0].boxes is not None


def check_labels(sources: Sequence[Source], codec: Codec, net: Net, boxes: bool) -> list[str]:
    """Look at what is to be learned before hours go into it; what is to be told about lines that teach nothing.

    Raises `UserError` when more than one in a thousand lines has a label that its frames cannot hold, a label has a
    character that the run lacks, or ``boxes`` are needed and there are none.
    """
    notes = []
    for source in sources:
        total = LOOKED_AT if source.blocks is None else int(source.blocks.sum())
        if total == 0:
            raise UserError(f"{source.name} holds no line: generate some, python -m gen --out DIR --n 20k")
        run = -(-min(total, LOOKED_AT) // RUNS)
        ids = np.unique(np.linspace(0, total - run, RUNS).astype(np.int64)[:, None] + np.arange(run))
        short = 0
        if source.blocks is not None:  # by the index alone, each line
            everything = np.arange(total)
            widths, lengths = source.widths(everything), source.lengths(everything)
            frames = np.array([net.frames(width) for width in range(int(widths.max()) + 1)])
            short = int((frames[widths] < lengths).sum())
            if short > TOLERATED * total:
                raise UserError(_too_long(source.name, short, total))
        bad = 0
        for item in source.read(ids.tolist()):
            width = prepare(item.pixels, source.direction, ImageSpec()).shape[1]
            bad += net.frames(width) < frames_needed(codec.encode(item.text))
            if boxes and item.boxes is None:
                raise UserError(
                    f"{source.name} has no boxes, which the loss frames needs: generate without meta: none, "
                    "or give its stages the loss ctc"
                )
        expected = TOLERATED * len(ids)
        if bad > expected + 3 * expected**0.5:  # what chance adds in a look at some of them
            raise UserError(_too_long(source.name, bad, len(ids)))
        if short or bad:
            count, looked = (short, total) if short else (bad, len(ids))
            notes.append(f"{source.name}: {count} of {looked} lines are too long for their frames and teach nothing")
    return notes


def _too_long(name: str, count: int, total: int) -> str:
    return (
        f"{name}: {count} of {total} lines looked at have more characters than the network has frames for, more than "
        "0.1 %: take a network with more frames (lite with model.stride=4), or leave such lines out (longest)"
    )
