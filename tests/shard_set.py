"""Sets of shards of the contract made in a blink, without fonts: grey noise as lines, and small blocks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gen import dataset
from gen.charset import Charset
from gen.contract import RECIPE, sample_key
from gen.dataset import Held
from gen.image import encode_image
from gen.plan import ShardTask
from gen.shard import ShardBuilder
from gen.store import LocalStore, publish
from train.source import Item

CHARS = Charset("一二三四五六七八九十人大天abc019，。")


def line(direction: str, split: str, index: int) -> Item:
    """What sample ``index`` of a set is; its pixels before the JPEG."""
    random = np.random.default_rng([len(direction), len(split), index])
    text = "".join(random.choice(list(CHARS.chars), random.integers(1, 13)))
    extent = 20 * len(text) + int(random.integers(0, 9))
    shape = (24 + index % 10, extent) if direction == "horizontal" else (extent, 24 + index % 10)
    pixels = np.repeat(random.integers(0, 256, (shape[0], 1), np.uint8), shape[1], 1)
    boxes = np.array(
        [[20 * k, 1, 18, 20] if direction == "horizontal" else [1, 20 * k, 20, 18] for k in range(len(text))]
    )
    return Item(sample_key(direction, split, index), pixels, text, boxes.astype(np.int32), "noise", 20)


def make_set(
    folder: Path,
    counts: Mapping[str, int],
    direction: str = "horizontal",
    shard_size: int = 20,
    block_bytes: int = 12_000,
    meta: bool = True,
) -> Path:
    """A complete set with so many samples of each split below ``folder``; the direction's directory."""
    store = LocalStore(str(folder))
    recipe = {"noise": {"shard_size": shard_size, "block_bytes": block_bytes, "meta": meta}}
    both = {"train": 0, "val": 0, **counts}
    held = Held(recipe, CHARS.chars, CHARS.sha256, "jpg", shard_size, {direction: both})
    for task in held.plan.tasks():
        _make_shard(store, task, block_bytes, meta)
    publish(store.create(RECIPE), held.to_json())
    assert dataset.finish(store, held) == {}
    return folder / direction


class InProcess:
    """In place of a `ProcessPoolExecutor`: starting processes is slow."""

    def __init__(
        self, workers: int, context: object, prepare: Callable[..., None], values: tuple[Any, ...] = ()
    ) -> None:
        prepare(*values)

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, call: Callable[..., Any], *arguments: object) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(call(*arguments))
        return future

    def map(self, call: Callable[..., Any], *arguments: Sequence[object]) -> list[Any]:
        return [call(*each) for each in zip(*arguments)]


def in_process(patch: pytest.MonkeyPatch, *modules: object) -> None:
    """Let modules that start processes work in this one."""
    for module in modules:
        patch.setattr(module, "ProcessPoolExecutor", InProcess)
        patch.setattr(module, "as_worker", lambda: None)


def _make_shard(store: LocalStore, task: ShardTask, block_bytes: int, meta: bool) -> None:
    with store.create(task.tar) as file:
        builder = ShardBuilder(file.write, (".jpg", ".txt", ".json") if meta else (".jpg", ".txt"), block_bytes)
        for index in range(task.start, task.start + task.count):
            item = line(task.direction, task.split, index)
            note = {"index": index, "direction": task.direction, "font": item.font, "size": item.size, "effects": {}}
            assert item.boxes is not None
            note["boxes"] = item.boxes.tolist()
            members = (encode_image(item.pixels, "jpg", 90), item.text.encode(), json.dumps(note).encode())
            height, width = item.pixels.shape
            builder.add(item.key.encode(), members[: 3 if meta else 2], width, height, len(item.text))
        sidecar = builder.finish(task, "jpg")
        file.publish()
    publish(store.create(task.sidecar), sidecar.to_json())
