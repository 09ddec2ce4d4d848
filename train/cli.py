"""The command: what to train on, where to put it, and how to go on.

    python -m train --data shards/horizontal --out runs/h
    torchrun --nproc-per-node 4 -m train --config train-horizontal --data http://host/shards/horizontal --out runs/h

The same command again goes on from the last checkpoint in ``--out``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from gen import command, paths
from gen.charset import load_charset
from gen.errors import UserError
from gen.estimate import processors
from gen.plan import parse_size
from gen.stream import DIRECTIONS
from train import checkpoint
from train.auto import measure_net, settle
from train.codec import Codec
from train.config import Crnn, TrainConfig, load_config
from train.dist import Lost, World, device_kind, joined, tell_once
from train.given import Given, common_charset, open_agreed, parse_place
from train.image import ImageSpec
from train.loop import Loop
from train.model import build, macs, parameter_count
from train.objective import Learner
from train.origin import Origin, find_origin, last_written
from train.plan import Plan
from train.record import Record
from train.rendered import Ingredients
from train.setting import Setting, check_legs, legs
from train.shards import NoSamples
from train.source import Source
from train.start import check_fresh, drawn_before, glyph_recipe, start_from_glyphs, start_from_weights
from train.validation import Validation

BATCH = {"cpu": 48, "cuda": 768}


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = command.Parser(prog="python -m train", description="Train a recogniser of text lines.")
    add = result.add_argument
    add(
        "--data", action="append", required=True, metavar="PLACE[=WEIGHT]",
        help="shards: a directory or URL; or gen:CONFIG to draw lines while training; may be repeated",
    )  # fmt: skip
    add("--out", required=True, metavar="DIR", help="checkpoints, metrics and weights; goes on with what is there")
    add("--config", metavar="FILE", help="settings (default: train-cpu or train-gpu, by the device)")
    add("--set", action="append", default=[], metavar="A.B=C", help="change a setting; may be repeated")
    add("--direction", choices=DIRECTIONS, help="train on lines of one direction only (default: all there are)")
    add("--steps", metavar="N", help="stop after step N of the whole run (default: the end of the stages)")
    add("--seed", type=int, metavar="S", help="of everything random (default: the configuration's)")
    add("--init", metavar="W", help="start from these weights, in their network; new characters from their glyphs")
    add("--init-charset", metavar="FILE", help="what a checkpoint of the older project in --init was trained with")
    add("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    add("--skip-bad-shards", type=_count, default=0, metavar="N", help="go on without up to N bad shards")
    add("--cache", metavar="DIR", help="for shards from a URL (default: the user's cache)")
    add("--charset", metavar="FILE", help="characters to learn, if not the data's; for gen: also those drawn")
    add("--fonts", nargs="+", default=[], metavar="PATH", help="fonts for gen: and for the first class matrix")
    add("--corpus", nargs="+", default=[], metavar="FILE", help="UTF-8 text for gen: lines")
    return result


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0 also after SIGTERM, when all is saved; 2 for what the user can mend."""
    return command.run(
        parser(), argv, _together, tell=tell_once, terminated=0,
        stopped=lambda args: "no step of this run was begun",
        advice=lambda args, error: f"the last checkpoint in {args.out} is kept",
    )  # fmt: skip


def _together(args: argparse.Namespace) -> int:
    try:
        origin = origin_of(args)
        config = configured(args, origin)
        with joined(args.device, config.comm.patience_s) as world, world.doing("the start, or the start of a stage"):
            return train(args, config, origin, world)
    except Lost as error:
        command.say(f"python -m train: {error}")
        os._exit(1)  # at once, for clean-up would wait for them; torchrun --max-restarts goes on from the checkpoint


def train(args: argparse.Namespace, config: TrainConfig, origin: Origin, world: World) -> int:
    """One process of a run; the exit code."""

    def say(text: str) -> None:
        if world.first:
            command.say(f"python -m train: {text}")

    given = _given(args, config)
    out = Path(args.out).expanduser()
    origin.agree(out, world)
    out.mkdir(parents=True, exist_ok=True)
    stages = legs(config, BATCH[world.device.type])
    given, (sources, shares) = open_agreed(given, args.skip_bad_shards, world, lambda given: given.open("train"))
    codec = Codec(common_charset(sources, given.ingredients.charset), config.model.space)
    directions = tuple(way for way in DIRECTIONS if any(source.direction == way for source in sources))
    given = given.settled(codec.charset, directions)
    done = origin.values["step"] if origin.values else 0

    def check(given: Given) -> bool:
        check_legs([leg for leg in stages if leg.last > done], config.data.lanes, world.size, given, sources)
        return True

    given, _ = open_agreed(given, args.skip_bad_shards, world, check)
    Plan(sources, shares, seed=0, batch=stages[0].batch, lanes=config.data.lanes)  # refuses sets too small to train on
    if isinstance(config.model, Crnn) and directions != (config.model.direction,):
        raise UserError(
            f"the model is for {config.model.direction} lines and --data holds {' and '.join(directions)} ones: "
            f"give --direction {config.model.direction}, or --set model.direction={directions[0]}"
        )
    torch.manual_seed(config.seed)
    net = build(config.model, codec.classes)
    setting = Setting(
        config, given, out, codec, directions, ImageSpec(trim=config.model.kind == "lite"),
        stages, _workers(config, world),
        {"data": [_about(source) for source in sources], "seed": config.seed, "revision": checkpoint.revision()},
        int(parse_size(args.steps, "--steps")) if args.steps else None, args.skip_bad_shards,
    )  # fmt: skip
    values, notes = origin.values, [*origin.notes]
    if values is None:
        notes += _first_parameters(origin, setting, net, sources)
    for note in notes:
        say(note)
    lines = stages[-1].batch // world.size
    chosen, setting.about["comm"], told = settle(
        config.comm, world, values["about"].get("comm", {}) if values else {},
        partial(measure_net, world, net.to(world.device), config.learning, codec.classes, lines),
    )  # fmt: skip
    learner = Learner(net, config.learning, world, config.seed, chosen)
    setting.limit = chosen.next(setting.steps, stages) if setting.limit else None
    loop = Loop(setting, learner, world)
    for note in [*(loop.resume(values) if values else []), *told]:
        say(note)
    check_fresh(net, config)
    if loop.step >= setting.steps and not world.worst(world.first and not _has_weights(out, loop.step)):
        say(f"nothing to do: {out} is at step {loop.step} of {setting.steps}")
        return 0
    say(_summary(setting, learner, sources))
    validation = _validation(setting, world, say)
    with ExitStack() as held:
        record, failure = None, ""
        try:
            if world.first:
                held.enter_context(_alone(out, origin.written))
                record = held.enter_context(Record(out, loop.step, setting.steps))
        except UserError as error:
            failure = str(error)
        if failure := world.gather(failure)[0]:  # by all, for the others would wait
            raise UserError(failure)
        stopped = loop.run(record, validation)
    say(_end(loop, setting, args, stopped))
    return 130 if stopped == 2 else 0


def _has_weights(out: Path, step: int) -> bool:
    """Not when the disk was full at the end of a run."""
    try:
        return bool(checkpoint.load(out / checkpoint.WEIGHTS)["about"]["step"] == step)
    except UserError:
        return False


@contextmanager
def _alone(out: Path, written: int | None) -> Iterator[None]:
    """Hold a run's folder, whose last checkpoint is still that of ``written``; another run in it would write the same
    files. Raises `UserError`."""
    lock = FileLock(out / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"another run writes to {out}: wait for it, stop it, or give another --out") from None
    try:
        if last_written(out) != written:
            raise UserError(f"another run has written to {out} since this one read it: give the same command again")
        yield
    finally:
        lock.release()


def origin_of(args: argparse.Namespace) -> Origin:
    """What the run begins with. Raises `UserError`."""
    charset = load_charset(args.init_charset) if args.init_charset else None
    load = partial(checkpoint.load_weights, charset=charset, direction=args.direction)
    return find_origin(Path(args.out).expanduser(), args.init, load)


def configured(args: argparse.Namespace, origin: Origin) -> TrainConfig:
    """The run's settings; the network is that of its origin, where neither the file nor ``--set`` says another. Raises
    `UserError`."""
    name = args.config or ("train-gpu" if device_kind(args.device) == "cuda" else "train-cpu")
    sets = [*args.set, *([f"seed={args.seed}"] if args.seed is not None else [])]
    return origin.configure(partial(load_config, name, sets))


def _given(args: argparse.Namespace, config: TrainConfig) -> Given:
    charset = load_charset(args.charset) if args.charset else None
    ingredients = Ingredients(charset, tuple(args.fonts), tuple(Path(path) for path in args.corpus))
    direction = args.direction
    if direction is None and isinstance(config.model, Crnn):
        direction = config.model.direction
    cache = Path(args.cache).expanduser() if args.cache else paths.cache_dir() / "shards"
    return Given(tuple(args.data), direction, ingredients, cache, int(config.data.cache_gb * 2**30))


def _workers(config: TrainConfig, world: World) -> int:
    if config.data.workers is not None:
        return config.data.workers
    if world.device.type == "cuda":
        return max(1, min(16, processors() // world.local_size))
    return 1  # the processor is the bottleneck, and one process reads faster than it learns


def _about(source: Source) -> dict[str, Any]:
    return {"name": source.name, "direction": source.direction, "identity": source.identity}


def _first_parameters(origin: Origin, setting: Setting, net: Any, sources: Sequence[Source]) -> list[str]:
    """Where a fresh run starts; what is to be told about it."""
    config, codec = setting.config, setting.codec

    def recipe() -> Any:
        return glyph_recipe(sources, codec, setting.given.ingredients, processors())

    if origin.init and origin.path:
        setting.about["init"] = {"path": origin.path.name, **origin.init.about}
        notes = [f"starting from {origin.path}", *drawn_before(origin.init.about, setting.about)]
        return notes + start_from_weights(net, codec, origin.init, recipe)
    if config.model.kind == "lite" and config.learning.start == "glyphs":
        missing = start_from_glyphs(net, codec, recipe(), config.seed)
        return [f"{missing:,} of {codec.classes:,} classes start at random: no font draws them"] if missing else []
    return []


def _validation(setting: Setting, world: World, say: Any) -> Validation | None:
    count = setting.config.data.val
    if not count:
        return None

    def load(given: Given) -> Validation:
        sources: list[Source] = []
        for place in given.places:
            try:
                sources += replace(given, places=(place,)).open("val")[0]
            except NoSamples:
                say(f"no accuracy will be measured on {place}, which has no lines for validation")
        if not sources:
            raise NoSamples("of all --data none has lines for validation")
        return Validation(sources, setting.codec, setting.image, count, world.rank, world.size)

    try:
        setting.given, validation = open_agreed(setting.given, setting.skip, world, load)
    except NoSamples as error:
        say(f"no accuracy will be measured: {error}")
        return None
    return validation


def _summary(setting: Setting, learner: Learner, sources: Sequence[Source]) -> str:
    net, config, world = learner.net, setting.config, learner.world
    others = "process" if world.size == 1 else f"processes, {learner.comm.chosen}"
    count = sum(int(source.blocks.sum()) for source in sources if source.blocks is not None)
    lines = f"{count:,} lines" if count else "lines drawn on the fly"
    sampled = f"{learner.negatives:,} sampled" if 0 < learner.negatives < setting.codec.classes else "all"
    return (
        f"{config.model.kind} with {parameter_count(net):,} parameters, "
        f"{macs(net) / 1e6:,.0f} M multiplications for a line of 320 px; "
        f"{setting.codec.classes:,} classes ({sampled}), {' and '.join(setting.directions)}; {lines}; "
        f"{setting.steps:,} steps of {setting.legs[0].batch} lines on {world.size} {others}, "
        f"{world.device.type} in {learner.precision}"
    )


def _end(loop: Loop, setting: Setting, args: argparse.Namespace, stopped: int) -> str:
    if stopped:
        return f"stopped and saved after step {loop.step} of {setting.steps}; the same command goes on"
    data = f"--data {parse_place(args.data[0])[0]}"
    weights = os.path.join(args.out, checkpoint.WEIGHTS)
    metrics = setting.about.get("metrics")
    reads = f", reads {metrics['line_accuracy_folded']:.1%} of unseen lines right" if metrics else ""
    return (
        f"done after {loop.step} steps{reads}: {weights}. Next: python -m train.evaluate --weight-path {weights} {data}"
    )
