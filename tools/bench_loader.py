"""How fast lines come out of shards: our loader against stock webdataset, on the same shards with the same workers.

    python -m tools.bench_loader --data shards/horizontal --json b.json  # some minutes

Measure on a machine that does nothing else, with shards that fit its memory. Both sides do the same work on each line
(grey image, label and boxes read; made 32 px high, padded, encoded). Figures are medians over rounds in turn (A B A B
…), without the start of the workers; a ratio is the median of the ratios of each round. What is printed is Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import webdataset as wds
from torch.utils.data import DataLoader
from tqdm import tqdm

from gen.command import Parser
from gen.errors import UserError
from gen.plan import parse_size
from tools.bench import run, table
from tools.bench_gen_run import machine, median
from train.codec import Codec
from train.data import AHEAD, Batch, collate, loader
from train.image import ImageSpec
from train.plan import Plan
from train.shards import ShardSource, open_source
from train.source import Item

STEP = 0.010  # s; what a GPU may take for a batch
SHUFFLE = 1000  # samples
IMAGES = ("jpg", "png", "webp")
BATCHES = {
    "ours": "ours",
    "stock": "webdataset, `.decode('l8')`",
    "stock with cv2": "webdataset, images decoded by OpenCV as ours are",
}
RECORDS = {
    "ours": "ours",
    "ours, first pass": "ours, sha256 of every block verified on the way",
    "stock": "webdataset",
}
Figures = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Bench:
    """What is measured on: one direction's shards, and the sizes."""

    source: ShardSource
    tars: tuple[str, ...]
    batch: int
    workers: int
    batches: int  # in one measurement


def open_bench(place: str, batch: int, workers: int, samples: int) -> Bench:
    """Raises `UserError` for what cannot be measured."""
    if "://" in place:
        raise UserError(f"--data {place}: only shards on a disk can be compared; give a directory")
    source = open_source(place, "train")
    tars = tuple(str(path) for path in sorted(Path(place).glob("train-*.tar")))
    if not 0 <= workers <= len(tars):
        raise UserError(f"--workers {workers}: webdataset needs a shard for each worker, and {place} has {len(tars)}")
    if len(source) < batch:
        raise UserError(f"--batch {batch}: {place} holds {len(source)} lines; generate more, or give a smaller --batch")
    Plan([source], [1], seed=1, batch=batch)  # refuses batches that do not fit
    return Bench(source, tars, batch, workers, max(1, samples // batch))


def batches(bench: Bench, way: str) -> Generator[Batch, None, None]:
    """Batches without end, made in one of the ways of BATCHES; those made before the pace is steady are left out."""
    codec, spec = Codec(bench.source.charset), ImageSpec()
    warm = 2 * AHEAD * max(1, bench.workers)
    if way == "ours":
        plan = Plan([bench.source], [1], seed=1, batch=bench.batch)
        yield from islice(loader([bench.source], plan, 0, 1, 0, sys.maxsize, codec, spec, bench.workers), warm, None)
        return
    samples = stock(bench.tars)
    samples = samples.decode("l8") if way == "stock" else samples.map(decode_with_cv2)
    yield from islice(
        DataLoader(
            samples.batched(bench.batch, collation_fn=partial(collate_stock, bench.source.direction, codec, spec)),
            batch_size=None,
            num_workers=bench.workers,
            prefetch_factor=AHEAD if bench.workers else None,
            multiprocessing_context="forkserver" if bench.workers else None,
        ),
        warm,
        None,
    )


def stock(tars: Sequence[str]) -> Any:
    """webdataset's samples, shards and then samples shuffled, again and again."""
    return wds.WebDataset(list(tars), shardshuffle=len(tars), seed=1).repeat().shuffle(SHUFFLE)


def decode_with_cv2(sample: dict[str, Any]) -> dict[str, Any]:
    """What ``.decode("l8")`` does, without Pillow."""
    found: dict[str, Any] = {"__key__": sample["__key__"], "txt": sample["txt"].decode()}
    if "json" in sample:
        found["json"] = json.loads(sample["json"])
    for suffix in IMAGES:
        if suffix in sample:
            found[suffix] = cv2.imdecode(np.frombuffer(sample[suffix], np.uint8), cv2.IMREAD_GRAYSCALE)
    return found


def collate_stock(direction: str, codec: Codec, spec: ImageSpec, samples: Sequence[dict[str, Any]]) -> Batch:
    """Our batch of webdataset's decoded samples."""
    items = []
    for sample in samples:
        pixels = next(sample[suffix] for suffix in IMAGES if suffix in sample)
        boxes = np.array(sample["json"]["boxes"], np.int32).reshape(-1, 4) if "json" in sample else None
        items.append(Item(sample["__key__"], pixels, sample["txt"], boxes))
    return collate(items, [direction] * len(items), codec, spec, np.zeros((len(items), 2), np.int64))


def measure_batches(bench: Bench, way: str) -> dict[str, float]:
    """``rate``: lines per second for a loop that does nothing else; ``padding``: share of the pixels of a batch;
    ``wait``: share of the time that a loop waits whose step sleeps for 10 ms."""
    with closing(batches(bench, way)) as found:
        next(found)
        begin = time.perf_counter()
        own = whole = 0
        for batch in islice(found, bench.batches):
            own += int(batch.widths.sum())
            whole += batch.images.shape[0] * batch.images.shape[3]
        rate = bench.batches * bench.batch / (time.perf_counter() - begin)
        waited, begin = 0.0, time.perf_counter()
        for _ in range(bench.batches):
            time.sleep(STEP)
            asked = time.perf_counter()
            next(found)
            waited += time.perf_counter() - asked
        return {"rate": rate, "padding": 1 - own / whole, "wait": waited / (time.perf_counter() - begin)}


def measure_records(bench: Bench, way: str) -> dict[str, float]:
    """``rate``: samples per CPU-second in shuffled order, their images left as they are in the file."""
    count = min(bench.batches, len(bench.source) // bench.batch)  # within one pass
    if way == "stock":
        samples = iter(stock(bench.tars))
        next(samples)
        seconds = timed(lambda: sum(1 for _ in islice(samples, count * bench.batch)))
    else:
        source = open_source(bench.source.name, "train")
        plan = Plan([source], [1], seed=1, batch=bench.batch)
        if way == "ours":
            source.records(np.arange(len(source)))
        seconds = timed(lambda: [source.records(plan.batch(step)[:, 1]) for step in range(count)])
    return {"rate": count * bench.batch / seconds}


def timed(work: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def compare(ways: Sequence[str], measure: Callable[[str], dict[str, float]], rounds: int, bar: Any) -> Figures:
    """Medians for each way, and ``ratio``: its rate to that of ``stock``."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            found[way].append(measure(way))
            bar.update()
        for way in ways:
            found[way][-1]["ratio"] = found[way][-1]["rate"] / found["stock"][-1]["rate"]
    return {way: {key: median([each[key] for each in runs]) for key in runs[0]} for way, runs in found.items()}


def batches_table(bench: Bench, figures: Figures) -> list[str]:
    """The decoded part for people."""
    workers = f"{bench.workers} worker{'s' * (bench.workers != 1)}" if bench.workers else "no workers"
    head = f"batches of {bench.batch}, {workers}", "lines/s", "× stock", "padding", "waiting beside a 10 ms step"
    rows = [
        (BATCHES[way], f"{part['rate']:,.0f}", f"{part['ratio']:.1f}", f"{part['padding']:.1%}", f"{part['wait']:.1%}")
        for way, part in figures.items()
    ]
    return table(head, rows)


def records_table(figures: Figures) -> list[str]:
    """The part without decoding for people."""
    rows = [(RECORDS[way], f"{part['rate']:,.0f}", f"{part['ratio']:.1f}") for way, part in figures.items()]
    return table(("one process, images not decoded", "samples per CPU-second", "× stock"), rows)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything, printed as well. Raises `UserError`."""
    if options.rounds < 1:
        raise UserError(f"--rounds {options.rounds}: give at least 1")
    bench = open_bench(options.data, options.batch, options.workers, parse_size(options.samples, "--samples"))
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    results: dict[str, Any] = {
        "machine": {**machine(), "torch": torch.__version__, "webdataset": wds.__version__},
        "batch": bench.batch, "workers": bench.workers, "lines": bench.batches * bench.batch,
    }  # fmt: skip
    print(" · ".join(f"{name} {value}" for name, value in results["machine"].items() if value))
    with tqdm(total=options.rounds * (len(BATCHES) + len(RECORDS)), leave=False, disable=None, unit="") as bar:
        records = compare(list(RECORDS), partial(measure_records, bench), options.rounds, bar)
        decoded = compare(list(BATCHES), partial(measure_batches, bench), options.rounds, bar)
    print("\n" + "\n".join([*batches_table(bench, decoded), "", *records_table(records)]))
    return {**results, "batches": decoded, "records": records}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = Parser(prog="python -m tools.bench_loader", description="How fast lines are read.")
    result.add_argument("--data", default="shards/horizontal", help="shards of one direction (shards/horizontal)")
    result.add_argument("--workers", type=int, default=2, help="of both loaders (2); 0: in the process itself")
    result.add_argument("--batch", type=int, default=96, help="lines in a batch (96)")
    result.add_argument("--samples", default="20k", help="lines in one measurement (20k)")
    result.add_argument("--rounds", type=int, default=3, help="of which medians are taken (3)")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), argv, measure)


if __name__ == "__main__":  # workers import this file too
    sys.exit(main())
