"""One leg of a training run on a machine that is lent for minutes and has no network; stops by itself.

    python3 -m tools.gpu_leg --left 1700            # as in tools/gpu_recipe.md
    python -m tools.gpu_leg --seconds 30 --home /tmp/try --out /tmp/back -- --device cpu --data gen:gen-default

The same command each time: it collects what was carried until all of it is there (`tools.gpu_pack`), unpacks it, draws
the glyphs, times the first steps, fits the stages to the time that is left, and starts the trainer, which goes on
between two legs. When its own time is over it leaves what is to come back in ``--out``; the last leg stops the trainer
first. After ``--`` stand arguments of ``python -m train``.

Before the archive is unpacked only the standard library is there, so imports that need more are inside functions.
"""

from __future__ import annotations

import argparse
import lzma
import os
import shutil
import signal
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gen import command
from gen.errors import UserError
from tools.gpu_parts import ARCHIVE, join, missing
from tools.gpu_trainer import KILLED, Trainer

if TYPE_CHECKING:
    from train.config import TrainConfig

STATE = "state"  # the folder of what an earlier run brought back, for one that goes on
METRICS = "metrics.jsonl"  # of a run, as `train.record` writes it
LINES = ("gen:gen-default=0.45", "gen:gen-classic=0.35", "gen:gen-prose=0.2")
TRAIN = ("--config", "train-gpu", *(word for lines in LINES for word in ("--data", lines)))
RESERVE = 60  # s of the time that is left which no leg is planned to use: the last files come back in it
SHORTEST = 60  # s: a leg shorter than that is not worth a call
SAVING = 0.04  # of a leg, at its end
MEASURING = 1 / 12  # of a leg: how long the first steps are timed
SLACK = 0.97  # of the time that is left which a run is planned to take
RESTART = 60  # s that a start costs on a GPU, which plans for each width of lines once more
SHARED = 128 << 20  # bytes of shared memory that the batches of one worker may need
TAIL = 25  # lines of the trainer's words that are shown


class Clock:
    """The time of this leg, and of those after it; ``starting``: what the trainer took from its start to a step."""

    def __init__(self, seconds: float, left: float | None) -> None:
        self._begin = time.monotonic()
        self._left = seconds + RESERVE if left is None else left
        self.seconds = max(1.0, min(seconds, self._left - RESERVE))
        self.last = self._left - RESERVE - self.seconds < SHORTEST
        self.starting = 0.0

    def here(self) -> float:
        """Seconds that the trainer still has in this leg, its start included."""
        return self.seconds * (1 - SAVING) - (time.monotonic() - self._begin)

    def patience(self) -> float:
        """Seconds that the trainer has to save and end."""
        return max(10.0, self.seconds * SAVING)

    def planned(self, runs: bool = False) -> float:
        """Seconds of training from now to the end of the last leg, when the trainer ``runs`` or is to be started."""
        later = 0.0 if self.last else self._left - RESERVE - self.seconds
        return max(1.0, (self.here() + later - (0.0 if runs else self.starting)) * SLACK)


def collect(carried: Path, home: Path) -> list[int]:
    """Keep the parts that were carried this time; the numbers of those that have not come yet."""
    home.mkdir(parents=True, exist_ok=True)
    if (carried / STATE).is_dir():
        shutil.copytree(carried / STATE, home / STATE, dirs_exist_ok=True)
    if (home / "site").exists():
        return []
    for part in sorted(carried.glob(f"*/{ARCHIVE}.*-of-*")):
        shutil.copyfile(part, home / part.name)
    lacking = missing(home, ARCHIVE)
    if not lacking:
        join(home, ARCHIVE, home / ARCHIVE)
        with tarfile.open(home / ARCHIVE) as tar:
            tar.extractall(home / "unpacked", filter="data")
        for path in home.glob(f"{ARCHIVE}*"):
            path.unlink()
        (home / "unpacked/data").mkdir(exist_ok=True)
        (home / "unpacked/data").rename(home / "data")
        (home / "unpacked/site").rename(home / "site")  # last: its presence says that all is there
    return lacking


def settle(home: Path) -> None:
    """Let this process and those that it starts find what was unpacked, and keep what they draw beside it."""
    site = str(home / "site")
    sys.path.insert(0, site)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (site, os.environ.get("PYTHONPATH"))))
    os.environ["CRNN_SHARDS_DATA"], os.environ["CRNN_SHARDS_CACHE"] = str(home / "data"), str(home / "cache")
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # lines have all widths


def machine(device: str | None) -> list[str]:
    """Say what this machine is; arguments for the trainer that follow from it. Raises `UserError` without a GPU."""
    import cv2
    import numba
    import numpy
    import torch

    from gen.estimate import processors

    shared = shutil.disk_usage("/dev/shm").free
    print(
        f"Python {sys.version.split()[0]}, torch {torch.__version__}, numpy {numpy.__version__}, "
        f"numba {numba.__version__}, OpenCV {cv2.__version__}; {processors()} processors, "
        f"{shared >> 20:,} MiB of shared memory free"
    )
    if device == "cpu":
        return []
    if not torch.cuda.is_available():
        raise UserError("torch finds no GPU here: give the machine back, or train without one: -- --device cpu …")
    properties = torch.cuda.get_device_properties(0)
    print(f"{properties.name}, {properties.total_memory >> 30} GiB")
    return ["--set", f"data.workers={max(1, min(processors() - 2, shared // SHARED))}"]


def draw(arguments: argparse.Namespace) -> None:
    """Draw all glyphs and compile all kernels, with every processor, before the trainer wants them one by one."""
    from gen.charset import load_charset
    from gen.estimate import processors
    from gen.stream import DIRECTIONS
    from train.given import parse_place
    from train.rendered import PREFIX, Ingredients, RenderedSource

    charset = load_charset(arguments.charset) if arguments.charset else None
    ingredients = Ingredients(charset, tuple(arguments.fonts), tuple(map(Path, arguments.corpus)))
    for place in (parse_place(text)[0] for text in arguments.data):
        for direction in DIRECTIONS if place.startswith(PREFIX) else ():
            RenderedSource.from_spec(place, direction, "train", ingredients, processors()).read(range(20))


def watch(trainer: Trainer, run: Path, clock: Clock, fresh: bool, measuring: bool) -> bool:
    """Look on until the leg's time is over, or its first steps are timed; whether the trainer is over too then.
    ``fresh``: it was started just now."""
    begin = time.monotonic()
    end, started = begin + clock.here(), not fresh
    least = _size(run / METRICS)
    while trainer.code is None and time.monotonic() < end:
        try:
            time.sleep(0.2)
        except KeyboardInterrupt as error:  # after SIGTERM it goes on: that may be the end of a call
            if not isinstance(error, command.Stopped) or error.number == signal.SIGINT:
                trainer.stop(clock.patience())
            raise
        steps = _size(run / METRICS)
        least = min(least, steps)  # it first drops steps that its checkpoint does not have
        if steps > least and not started:
            started, clock.starting = True, time.monotonic() - begin
            if measuring:
                end = min(end, time.monotonic() + clock.seconds * MEASURING)
    if trainer.code is not None:
        return True
    if not clock.last and not (measuring and started):
        return False
    if not trainer.stop(clock.patience()):
        print("the trainer did not save in time: what it did since its last checkpoint is lost")
    return True


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def learn(
    clock: Clock, home: Path, given: Sequence[str], more: Sequence[str], config: TrainConfig, rate: float | None
) -> tuple[int, bool]:
    """Train until this leg's time is over; the exit code, and whether the whole run is done. ``rate``: lines a second
    of the first stage, where they need not be timed first."""
    from tools import gpu_schedule
    from train import checkpoint
    from train.config import load_config

    guess = {config.stages[0].name: rate} if rate else {}
    run, plan, starting, trainer = home / "run", home / "stages.yaml", home / "starting", Trainer(home)
    clock.starting = float(starting.read_text()) if starting.exists() else 0.0
    measured, step, fresh = gpu_schedule.rates(run / METRICS) or guess, 0, False
    if trainer.known:
        config = gpu_schedule.fitted(config, load_config(str(plan)))
        if trainer.code is None and any(stage.name in measured for stage in config.stages):
            to_go = gpu_schedule.seconds(config, gpu_schedule.last_step(run / METRICS), measured)
            there_are = clock.planned(runs=True)
            print(f"the trainer has {to_go:.0f} s to go, and {there_are:.0f} s to do it in")
            if abs(to_go - there_are) > 2 * RESTART:
                trainer.stop(clock.patience())
    elif values := checkpoint.load_newest(run)[0]:
        step, config = values["step"], gpu_schedule.fitted(config, _written(plan, values["config"]))
    while True:
        if trainer.known:
            over = watch(trainer, run, clock, fresh, not measured)
            starting.write_text(str(clock.starting))
            if not over:
                return 0, False
            code, words = trainer.end()
            values = checkpoint.load_newest(run)[0]
            step = values["step"] if values else 0
            if code == KILLED and not fresh:
                print("the trainer was killed: going on from its last checkpoint")
            elif "out of memory" in words and (smaller := gpu_schedule.halve(config, step)) != config:
                print("the GPU's memory ran out: going on with half as large batches")
                config = smaller
            elif code:
                print("\n".join(words.splitlines()[-TAIL:]))
                return 1 if code == KILLED else code, False
            elif measured or "nothing to do" in words:
                print("\n".join(line for line in words.splitlines()[-TAIL:] if line.strip()))
            measured = gpu_schedule.rates(run / METRICS) or guess
        config = gpu_schedule.fit(config, step, clock.planned(), measured)
        if step >= gpu_schedule.steps(config):
            return 0, True
        if clock.last and clock.here() < clock.starting + clock.seconds * MEASURING:
            return 0, False
        _written(plan, config)
        trainer.start([sys.executable, "-m", "train", *given, *more, "--config", str(plan), "--out", str(run)])
        fresh = True


def _written(path: Path, config: TrainConfig | dict[str, object]) -> TrainConfig:
    """The configuration as the trainer will read it from ``path``."""
    import yaml

    from gen.settings import to_dict
    from train.config import load_config

    values = config if isinstance(config, dict) else to_dict(config)
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return load_config(str(path))


def bring_back(home: Path, out: Path) -> int:
    """Put what is worth keeping into ``out``: few files, each small enough; the step that they are of."""
    from tools.gpu_state import export

    out.mkdir(parents=True, exist_ok=True)
    step = int(export(home / "run", out)["step"])
    shutil.copyfile(home / "stages.yaml", out / "stages.yaml")
    for path in (home / "run" / METRICS, home / "train.log"):
        if path.exists():
            (out / f"{path.name}.xz").write_bytes(lzma.compress(path.read_bytes()))
    return step


def leg(clock: Clock, args: argparse.Namespace, given: Sequence[str]) -> int:
    """The leg; its exit code."""
    from tools import gpu_schedule
    from tools.gpu_state import restore
    from train.cli import configured, origin_of, parser
    from train.config import load_config

    run = args.home / "run"
    arguments = parser().parse_args([*given, "--out", str(run)])
    more = machine(arguments.device)
    begin = time.monotonic()
    draw(arguments)
    print(f"glyphs and kernels are ready after {time.monotonic() - begin:.0f} s")
    if (args.home / STATE).is_dir() and not run.exists():
        print(f"going on from what was brought back after step {restore(args.home / STATE, run)}")
        for path in (args.home / STATE).glob(f"{METRICS}.xz"):
            (run / METRICS).write_bytes(lzma.decompress(path.read_bytes()))
    code, done = learn(clock, args.home, given, more, configured(arguments, origin_of(arguments)), args.rate)
    if list(run.glob("*.pt")):
        step = bring_back(args.home, args.out)
        for name, rate in gpu_schedule.rates(run / METRICS).items():
            print(f"stage {name}: {rate:,.0f} lines/s")
        steps = gpu_schedule.steps(load_config(str(args.home / "stages.yaml")))
        size = sum(path.stat().st_size for path in args.out.iterdir())
        print(f"step {step} of {steps}, {size / 2**20:.1f} MiB come back")
    if not code:
        print("the run is done" if done else "next: the same call again, with --left as it is now")
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    own, given = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [*TRAIN])
    parser = command.Parser(prog="python -m tools.gpu_leg", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--left", type=float, metavar="S", help="seconds for which the machine is still lent (default: this leg)")
    add("--seconds", type=float, default=540, metavar="S", help="of this leg, all included (default: %(default)s)")
    add("--rate", type=float, metavar="N", help="lines a second of the first stage, if they are known: none are timed")
    add("--home", type=Path, default=Path("/tmp/crnn"), metavar="DIR", help="kept between legs (default: %(default)s)")
    add("--carried", type=Path, default=Path(".gpu"), metavar="DIR", help="what came along (default: %(default)s)")
    out = Path(os.environ.get("OUT", "gpu-out"))
    add("--out", type=Path, default=out, metavar="DIR", help="for what comes back (default: $OUT, else gpu-out)")
    return command.run(parser, own, lambda args: run(args, given))


def run(args: argparse.Namespace, given: Sequence[str]) -> int:
    """The leg, once all that it needs is here; its exit code."""
    clock = Clock(args.seconds, args.left)
    if lacking := collect(args.carried, args.home):
        print(f"not here yet: part {', '.join(map(str, lacking))} of what tools.gpu_pack made; carry it next")
        return 0
    settle(args.home)
    return leg(clock, args, given)


if __name__ == "__main__":
    sys.exit(main())
