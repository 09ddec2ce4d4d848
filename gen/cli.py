"""The command line of the generator.

    python -m gen --out shards --n 10M                        # both directions, the default recipe
    python -m gen --out shards --n 20k --dry-run              # the plan, with bytes and time; writes nothing
    python -m gen --out shards --n 10M --slice 3/100          # one of a hundred jobs that make the set together

Stopped or killed, the same command goes on; with a larger ``--n`` later the set grows.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gen import contents, dataset, paths, summary
from gen.charset import load_charset
from gen.command import Parser, run, say
from gen.config import load_recipe
from gen.contract import DIRECTIONS, RECIPE
from gen.dataset import Held
from gen.engine import Engine, LocalEngine
from gen.errors import UserError
from gen.estimate import measure, processors
from gen.fonts import Font, find_catalogue_fonts, fonts_from
from gen.plan import ShardTask, parse_size, parse_slice, share
from gen.sample import Recipe, RecipeSource, open_recipe
from gen.store import Store, open_store


def parser() -> argparse.ArgumentParser:
    """Every flag, with its help."""
    result = Parser(
        prog="python -m gen",
        description="Generate labelled images of Chinese text lines as WebDataset shards.",
        epilog="Sizes: 500, 20k, 1.5M, 1e6, 10_000. Stopped or killed, the same command goes on.",
        allow_abbrev=False,
    )
    add = result.add_argument
    add(
        "--out",
        required=True,
        metavar="DIR",
        help="directory for the shards, made if missing; or s3://BUCKET/PREFIX, …",
    )
    add("--n", metavar="N", help="training images over all directions; 1 %% validation images come on top")
    add("--direction", choices=(*DIRECTIONS, "both"), default="both", help="of the text (default: both)")
    add(
        "--config",
        metavar="FILE",
        help="recipe: a YAML file, or gen-default (the default), gen-classic, gen-prose, …",
    )
    add("--set", action="append", default=[], metavar="A.B=C", help="change one value of the recipe; may be repeated")
    add("--seed", metavar="S", help="another seed gives other images of the same recipe")
    add("--workers", metavar="N", help="processes (default: one for each processor); never changes the bytes")
    add("--engine", choices=("local", "ray"), default="local", help="who works: this machine, or a Ray cluster")
    add("--address", metavar="A", help="of the Ray cluster: auto on one of its machines, or HOST:PORT of its head")
    add("--shard-size", metavar="N", help="images in a shard (default: 10k)")
    add("--format", choices=("jpg", "png", "webp"), help="of the images (default: jpg, quality 90)")
    add("--charset", metavar="FILE", help="one character a line (default: the packaged 30,656)")
    add(
        "--fonts", nargs="+", metavar="FONT", help="fonts instead of the catalogue: DIR, FILE, FILE#face, FILE@wght=700"
    )
    add("--add-fonts", nargs="+", default=[], metavar="FONT", help="fonts besides")
    add("--corpus", nargs="+", default=[], metavar="FILE", help="UTF-8 text to take lines from")
    add("--slice", default="0/1", metavar="I/N", help="make only part I (from 0) of N, for job arrays")
    add(
        "--finish",
        action="store_true",
        help="only write the manifests of a set whose slices are done; needs just --out",
    )
    add(
        "--overwrite",
        action="store_true",
        help="replace a set of another recipe, or a larger one; one that fits is kept",
    )
    add("--dry-run", action="store_true", help="show the plan and an estimate; write nothing")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0, 2 for what the user can mend, 130 or 143 when stopped."""
    return run(parser(), argv, _make, stopped=lambda args: _what_is_there(args.out), advice=_check)


def _make(args: argparse.Namespace) -> int:
    args.out = os.path.expanduser(args.out)
    return finish(args) if args.finish else generate(args)


def _check(args: argparse.Namespace, error: OSError) -> str:
    """What to look at after a failure of the operating system."""
    outside = error.filename and not str(error.filename).startswith(args.out)
    place = f"--out {args.out}" + ("" if "://" in args.out else " and its disk")
    return f"check {'that file' if outside else place}, then run the same command"


def _what_is_there(out: str) -> str:
    """What a stopped run leaves behind, and how it goes on."""
    try:
        store = open_store(out)
        held = dataset.read_held(store)
        if held is None:
            return "nothing was made yet; the same command starts again"
        tasks = held.plan.tasks()
        files = set(contents.shard_files(store))  # by name alone: it must be quick
        done = sum(task.tar in files and task.sidecar in files for task in tasks)
    except (UserError, OSError):
        return "the same command goes on"
    return f"{done} of {len(tasks)} shards in {out} are complete and kept; the same command goes on from there"


def generate(args: argparse.Namespace) -> int:
    """Make what the arguments ask for; the exit code."""
    if args.n is None:
        raise UserError("--n is missing: say how many training images to make, for example --n 20k")
    n = parse_size(args.n, "--n")
    workers = parse_size(args.workers, "--workers") if args.workers else processors()
    part = parse_slice(args.slice)
    directions = DIRECTIONS if args.direction == "both" else (args.direction,)
    counts = share(n, directions)
    store = open_store(args.out)
    engine = _engine(args, workers)
    source, fonts_note = read_source(args)
    recipe = open_recipe(source, workers)
    wanted = Held(
        recipe=recipe.identity_parts(),
        charset=recipe.charset.chars,
        charset_sha256=recipe.charset.sha256,
        image=recipe.config.image.format,
        shard_size=recipe.config.shard_size,
        counts=counts,
    )
    wanted.plan.check()
    future, replace = dataset.begin(store, wanted, args.overwrite)  # a refusal comes before any note
    for note in (*fonts_note, *_recipe_notes(recipe)):
        say(f"python -m gen: {note}")
    rates = measure(recipe, directions)
    if args.dry_run:
        tasks = [task for task in future.plan.slice(*part) if task.direction in counts]
        todo = dataset.todo_of(store, wanted, tasks, replace)
        cost = rates.estimate(todo, workers)
        say(summary.plan_text(args, store, recipe, wanted, tasks, todo, cost, workers), sys.stdout)
        _check_disk(store, cost.bytes, contents.set_bytes(store) if replace else 0)
        return 0

    def approve(todo: list[ShardTask], freed: int) -> None:
        _check_disk(store, rates.estimate(todo, workers).bytes, freed)

    with dataset.prepared(store, wanted, args.overwrite, part, approve) as todo:
        begin = time.perf_counter()
        with summary.Progress(todo) as progress:
            engine.run(source, todo, store, progress)
        seconds = time.perf_counter() - begin
        held = dataset.read_held(store)
        assert held is not None
        missing = dataset.finish(store, held)
    say(summary.done_text(args, todo, progress.bytes, seconds, missing), sys.stdout)
    return 0


def _engine(args: argparse.Namespace, workers: int) -> Engine:
    """Who makes the shards. Raises `UserError`."""
    if args.engine == "ray":
        from gen.ray_engine import RayEngine

        return RayEngine(args.address, workers if args.workers else None)
    if args.address is not None:
        raise UserError(f"--address {args.address} is that of a Ray cluster: give --engine ray, too")
    return LocalEngine(workers)


def finish(args: argparse.Namespace) -> int:
    """Write the manifests of a set that slices made; the exit code."""
    if args.dry_run:
        raise UserError("--finish writes manifests, --dry-run writes nothing: give one of them")
    store = open_store(args.out)
    held = dataset.read_held(store)
    if held is None:
        raise UserError(f"{args.out} holds no {RECIPE}: give the directory that the slices were written to")
    if args.n is not None and parse_size(args.n, "--n") != held.plan.train:
        raise UserError(f"--n {args.n}: the set in {args.out} is for {held.plan.train} training images")
    missing = dataset.finish(store, held)
    if missing:
        shards = [name for names in missing.values() for name in names]
        more = f" and {len(shards) - 5} more" if len(shards) > 5 else ""
        raise UserError(
            f"{args.out} lacks {len(shards)} of {len(held.plan.tasks())} shards: {', '.join(shards[:5])}{more}; "
            "run the slices that make them again"
        )
    tasks = held.plan.tasks()
    say(
        f"{args.out} is complete: {held.plan.samples:,} images in {len(tasks)} shards. {summary.next_text(args.out)}",
        sys.stdout,
    )
    return 0


def read_source(args: argparse.Namespace) -> tuple[RecipeSource, list[str]]:
    """The recipe's ingredients from the arguments, and what to tell about the fonts."""
    sets = list(args.set)
    if args.seed is not None:
        sets.append(f"seed={args.seed}")
    if args.shard_size is not None:
        sets.append(f"shard_size={parse_size(args.shard_size, '--shard-size')}")
    if args.format is not None:
        sets.append(f"image.format={args.format}")
    config = load_recipe(args.config, sets)
    charset = load_charset(args.charset)
    fonts, notes = _fonts(args)
    corpus = tuple(Path(path) for path in args.corpus)
    return RecipeSource(config, charset, tuple(fonts), corpus, paths.cache_dir()), notes


def _fonts(args: argparse.Namespace) -> tuple[list[Font], list[str]]:
    added = fonts_from(args.add_fonts)
    if args.fonts:
        return fonts_from(args.fonts) + added, []
    fonts, missing, notes = find_catalogue_fonts()
    if missing:
        names = ", ".join(font.name for font in missing[:4]) + (", …" if len(missing) > 4 else "")
        total = len(fonts) + len(missing)
        notes = [
            *notes,
            f"{len(missing)} of {total} fonts are missing ({names}); python -m tools.fetch_fonts gets them",
        ]
    if not fonts and not added:
        raise UserError("no font was found: run python -m tools.fetch_fonts, or give --fonts DIR")
    return fonts + added, notes


def _recipe_notes(recipe: Recipe) -> list[str]:
    """What the user should know about characters that will not appear."""
    notes = []
    if recipe.uncovered:
        count, total = len(recipe.uncovered), len(recipe.charset)
        notes.append(f"{count:,} of {total:,} characters are in no font and never drawn: {_some(recipe.uncovered)}")
    if recipe.text is not None and recipe.text.dropped:
        count, chars = recipe.text.dropped.total(), "".join(sorted(recipe.text.dropped))
        notes.append(f"{count:,} characters of the corpus are not in the charset and are left out: {_some(chars)}")
    return notes


def _some(chars: str) -> str:
    return chars[:10] + ("…" if len(chars) > 10 else "")


def _check_disk(store: Store, need: int, freed: int) -> None:
    free = store.free()
    if free is not None and need > free + freed:
        raise UserError(
            f"{store} has {summary.size_text(free + freed)} free, but the shards still to make need about "
            f"{summary.size_text(need)}: give a smaller --n, or --out on a larger disk"
        )
