"""The measurements of ``python -m tools.bench_gen``: each returns plain numbers, medians over interleaved repeats.

What a ratio compares is measured in turn (A B A B …) in one process, so that a noisy machine hits both sides alike;
the ratio is the median of the ratios of each round. CPU seconds are those of the process, all of its threads.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2

from gen import shard
from gen.contract import DIRECTIONS, Sidecar
from gen.engine import LocalEngine
from gen.plan import ShardTask
from gen.sample import Recipe, RecipeSource, Stream, open_recipe, render
from gen.shard import ShardRecord
from gen.store import LocalStore
from tools import bench_peer_worker
from tools.bench_memory import Footprint, Sampler

Figures = dict[str, float]
LENGTH = 12  # characters in a line of the yardstick
YARDSTICK_LINES = 400


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return float(statistics.median(values))


@contextmanager
def temporary_store() -> Iterator[LocalStore]:
    """A directory for shards, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-gen-") as folder:
        yield LocalStore(folder)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds and wall seconds of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def tasks_of(images: int, number: int) -> list[ShardTask]:
    """The shards of a round: ``images`` of each direction, other ones in every round."""
    return [ShardTask(direction, "train", number, number * images, images, "bench") for direction in DIRECTIONS]


def yardstick(font: Path, chars: str, number: int) -> float:
    """Plain Pillow, lines per CPU-second: one font, 12 characters, 512x32, JPEG of quality 90."""
    rng = random.Random(number)
    draw = bench_peer_worker.pillow(font, chars)
    lines = ["".join(rng.choices(chars, k=LENGTH)) for _ in range(YARDSTICK_LINES)]
    cpu, _ = timed(lambda: [draw(line) for line in lines])
    return len(lines) / cpu


def speed(
    sources: dict[str, RecipeSource], images: int, rounds: int, font: Path, chars: str, step: Callable[[str], None]
) -> dict[str, Figures]:
    """One worker's rates for each recipe, both directions half and half, and the yardstick's.

    ``full``: render, encode, tar, json, hashes, written and committed to a temporary directory; ``render``: pixels,
    text and boxes only; ``encode``: OpenCV's JPEG of the same images at the recipe's quality. Images per CPU-second,
    ``wall`` per second. A round before the first is thrown away: it loads compiled code and what glyphs are placed by.
    """
    recipes = {name: open_recipe(source) for name, source in sources.items()}
    rates: dict[str, dict[str, list[float]]] = {name: {} for name in sources}
    plain: list[float] = []
    for number in range(-1, rounds):
        for name, recipe in recipes.items():
            step(f"{name}, round {number + 1}")
            count = images if number >= 0 else min(images, 1000)
            with temporary_store() as store:
                # Indexes of rounds do not overlap, so that no round finds its lines dealt already.
                found = _round(recipe, store, tasks_of(count, number + 1))
            if number >= 0:
                for key, value in found.items():
                    rates[name].setdefault(key, []).append(value)
        rate = yardstick(font, chars, number)
        if number >= 0:
            plain.append(rate)
    result = {}
    for name, lists in rates.items():
        result[name] = {key: median(values) for key, values in lists.items()}
        result[name]["of_encode"] = median([a / b for a, b in zip(lists["full"], lists["encode"])])
        result[name]["of_yardstick"] = median([a / b for a, b in zip(lists["full"], plain)])
    result["plain Pillow + JPEG"] = {"full": median(plain)}
    return result


def make_shard(recipe: Recipe, task: ShardTask, store: LocalStore) -> Sidecar:
    """What `shard.run_task` does, with a recipe that stays open beside another one."""
    with store.create(task.tar) as draft, store.create(task.sidecar) as note:
        sidecar = shard.build(recipe, task, draft.write, lambda count: None)
        note.write(sidecar.to_json())
        draft.publish()
        note.publish()
    return sidecar


def _round(recipe: Recipe, store: LocalStore, tasks: Sequence[ShardTask]) -> Figures:
    """Every rate of one recipe over the same images."""
    total = sum(task.count for task in tasks)
    cpu, wall = timed(lambda: [make_shard(recipe, task, store) for task in tasks])
    pixels: list[Any] = []

    def draw() -> None:
        for task in tasks:
            stream = Stream(recipe.config.seed, task.direction, task.split)
            pixels.extend(render(recipe, stream, task.start + k).pixels for k in range(task.count))

    bare, _ = timed(draw)
    settings = [cv2.IMWRITE_JPEG_QUALITY, recipe.config.image.quality]
    encode, _ = timed(lambda: [cv2.imencode(".jpg", image, settings) for image in pixels])
    size = sum(path.stat().st_size for path in Path(store.root).rglob("*.tar"))
    return {
        "full": total / cpu,
        "wall": total / wall,
        "render": total / bare,
        "encode": total / encode,
        "bytes": size / total,
        "pixels": sum(image.size for image in pixels) / total,
    }


@dataclass
class _Watch:
    """Notes when how many images were made."""

    finished: int = 0
    made: list[tuple[float, int]] | None = None

    def _note(self, live: int) -> None:
        assert self.made is not None
        self.made.append((time.perf_counter(), self.finished + live))

    def live(self, images: int) -> None:
        self._note(images)

    def done(self, record: ShardRecord) -> None:
        self.finished += record.count
        self._note(0)


def engine_run(source: RecipeSource, workers: int, images: int, shards: int, number: int) -> tuple[float, float]:
    """Images per second of the real engine: from the first quarter of the images on, and with the start of workers."""
    each = images // shards
    tasks = [
        ShardTask(DIRECTIONS[k % 2], "train", k, (number * shards + k) * each, each, "bench") for k in range(shards)
    ]
    watch = _Watch(made=[])
    begin = time.perf_counter()
    with temporary_store() as store:
        LocalEngine(workers).run(source, tasks, store, watch)
        end = time.perf_counter()
    assert watch.made is not None
    total = each * shards
    # `made` falls back when a shard is done and its worker's next has not reported: take the time of its first rise.
    moment, made = next(point for point in watch.made if point[1] >= total // 4)
    return (total - made) / (end - moment), total / (end - begin)


def scaling(source: RecipeSource, images: int, rounds: int, step: Callable[[str], None]) -> Figures:
    """One worker against two, through the engine that ``python -m gen`` uses; the shards are as even as they can be."""
    rates: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for number in range(rounds):
        for workers in rates:
            step(f"{workers} worker{'s' * (workers > 1)}, round {number + 1}")
            rates[workers].append(engine_run(source, workers, images, 4, number))
    one, two = ([rate for rate, _ in rates[workers]] for workers in (1, 2))
    return {
        "one": median(one),
        "two": median(two),
        "ratio": median([b / a for a, b in zip(one, two)]),
        "one_with_start": median([rate for _, rate in rates[1]]),
        "two_with_start": median([rate for _, rate in rates[2]]),
    }


def memory(source: RecipeSource, sizes: Sequence[int], workers: int, step: Callable[[str], None]) -> list[Footprint]:
    """The largest private memory of any worker, in runs of each size (images)."""
    found = []
    for size in sizes:
        step(f"{size:,} images")
        each = min(source.config.shard_size, max(1, size // (2 * workers)))
        tasks = [
            ShardTask(DIRECTIONS[k % 2], "train", k, k * each, min(each, size - k * each), "bench")
            for k in range((size + each - 1) // each)
        ]
        with temporary_store() as store, Sampler(source.cache) as sampler:
            LocalEngine(workers).run(source, tasks, store, _Watch(made=[]))
        found.append(replace(sampler.peak, images=size))
    return found


_FIRST = """
import sys
from gen.cli import parser, read_source
from gen.image import encode_image
from gen.sample import Stream, open_recipe, render
source, _ = read_source(parser().parse_args(sys.argv[1:]))
recipe = open_recipe(source)
sample = render(recipe, Stream(recipe.config.seed, "horizontal", "train"), 0)
encode_image(sample.pixels, "jpg", 90)
"""


def start(fonts: Sequence[str], rounds: int, step: Callable[[str], None], warmup: int = 1) -> Figures:
    """Seconds from the start of Python to the first encoded image, and of a whole ``python -m gen`` for 402 images."""
    first, whole = [], []
    with tempfile.TemporaryDirectory(prefix="bench-gen-") as folder:
        for number in range(-warmup, rounds):  # the first fills the file cache
            step(f"round {number + 1}")
            arguments = ["--out", f"{folder}/{number}", "--n", "2", "--workers", "1"]
            arguments += ["--fonts", *fonts] if fonts else []
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", _FIRST, *arguments], check=True)
            middle = time.perf_counter()
            command = [sys.executable, "-m", "gen", *arguments]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if number >= 0:
                first.append(middle - begin)
                whole.append(time.perf_counter() - middle)
    return {"first_image_s": median(first), "whole_command_s": median(whole)}


def atlas(sources: dict[str, RecipeSource], workers: int, step: Callable[[str], None]) -> dict[str, Figures]:
    """Drawing every glyph anew, for each recipe: seconds with ``workers`` processes, and bytes on disk."""
    found = {}
    for name, source in sources.items():
        step(name)
        with tempfile.TemporaryDirectory(prefix="bench-atlas-") as folder:
            fresh = replace(source, cache=Path(folder))
            _, wall = timed(lambda: open_recipe(fresh, workers))  # noqa: B023 (called at once)
            size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        found[name] = {
            "seconds": wall,
            "bytes": float(size),
            "fonts": float(len(source.fonts)),
            "workers": float(workers),
        }
    return found


def machine() -> dict[str, str]:
    """What it was measured on."""
    import numpy as np
    import PIL

    model = ""
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()) if hasattr(os, "getloadavg") else "",
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
    }
