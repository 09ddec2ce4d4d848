"""What a run tells: its plan, its progress, its last line. ``python -m gen --out shards --n 20k --dry-run``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from gen.contract import DIRECTIONS
from gen.dataset import Held
from gen.estimate import Estimate
from gen.plan import ShardTask
from gen.sample import Recipe
from gen.shard import ShardRecord
from gen.store import Store


def plan_text(
    args: argparse.Namespace,
    store: Store,
    recipe: Recipe,
    wanted: Held,
    tasks: Sequence[ShardTask],
    todo: Sequence[ShardTask],
    cost: Estimate,
    workers: int,
) -> str:
    """The plan, for people."""
    parts = [f"{name} {count['train']:,} train + {count['val']:,} val" for name, count in wanted.counts.items()]
    images = sum(task.count for task in tasks)
    part = "" if args.slice == "0/1" else f" in slice {args.slice}"
    free = store.free()
    rows = {
        "recipe": f"{args.config or 'gen-default'}, seed {recipe.config.seed}, identity {wanted.identity[:16]}",
        "images": f"{images:,}{part} ({'; '.join(parts)} in the whole set)",
        "shards": f"{len(tasks):,} of up to {recipe.config.shard_size:,} images; {len(tasks) - len(todo):,} are done",
        "fonts": f"{len(recipe.fonts):,}",
        "charset": f"{len(recipe.charset):,} characters, {len(recipe.uncovered):,} of them in no font",
        "estimate": f"{size_text(cost.bytes)} and {time_text(cost.seconds)} for {cost.images:,} images "
        f"({cost.images_per_second:,.0f} images/s with {workers} worker{'s' * (workers > 1)}, from a measured sample)",
        "disk": f"{size_text(free)} free" if free is not None else "not limited",
    }
    return "\n".join(f"{name:<9} {text}" for name, text in rows.items())


def done_text(
    args: argparse.Namespace, todo: Sequence[ShardTask], size: int, seconds: float, missing: dict[str, list[str]]
) -> str:
    """The last line of a run."""
    images = sum(task.count for task in todo)
    if todo:
        train = sum(task.count for task in todo if task.split == "train")
        ways = " and ".join(way for way in DIRECTIONS if any(task.direction == way for task in todo))
        made = (
            f"Made {images:,} images ({train:,} train + {images - train:,} val, {ways}) in {args.out}: {len(todo):,} "
            f"shard{'s' * (len(todo) > 1)}, {size_text(size)}, {time_text(seconds)}, {images / seconds:,.0f} images/s."
        )
    else:
        made = f"Nothing to do: all shards asked for are in {args.out}."
    if missing:
        lacking = sum(len(names) for names in missing.values())
        return f"{made} {lacking:,} shard{'s' * (lacking > 1)} of the set are still to be made by other runs."
    return f"{made} {next_text(args.out)}"


def next_text(out: str) -> str:
    """The command to go on with: the checking tool comes with the clone, not with the wheel."""
    if Path(__file__).parent.parent.joinpath("tools", "verify.py").is_file():
        return f"Next: python -m tools.verify {out}"
    return f"Next: read {out}/*/train-*.tar with webdataset."


@dataclass
class Progress:
    """A bar on the terminal, fed with samples rather than shards; says nothing when stderr is no terminal."""

    tasks: Sequence[ShardTask]
    images: int = 0  # in finished shards
    bytes: int = 0

    def __enter__(self) -> Progress:
        total = sum(task.count for task in self.tasks)
        self._bar = tqdm(total=total, unit="img", unit_scale=True, disable=None, smoothing=0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def live(self, images: int) -> None:
        """Show the finished shards' images and the others'."""
        if not self._bar.disable:
            self._bar.update(self.images + images - self._bar.n)

    def done(self, record: ShardRecord) -> None:
        """Count a finished shard."""
        self.images += record.count
        self.bytes += record.bytes


def size_text(size: float) -> str:
    """Bytes as people read them: 1.2 GB."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def time_text(seconds: float) -> str:
    """Seconds as people read them: 45 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"
