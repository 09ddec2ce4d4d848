"""Batches: what is in them, the same for any number of ranks and workers."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shard_set
import torch
import webdataset as wds
from torch.utils.data import DataLoader
from train_sources import CHARS, MemorySource, memory

from gen.charset import Charset
from gen.errors import UserError
from train.codec import Codec
from train.data import Batch, collate, loader, samples
from train.image import ImageSpec, prepare
from train.plan import Plan
from train.shards import open_source
from train.source import Item

CODEC = Codec(Charset(CHARS))
SPEC = ImageSpec()
NO_IDS = np.zeros((1, 2), np.int64)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def two_sources() -> list[MemorySource]:
    return [memory(400, 40, name="h"), memory(200, 30, name="v", direction="vertical", seed=2, spaces=True)]


def batches(sources: list[MemorySource], rank: int = 0, world: int = 1, workers: int = 0) -> list[Batch]:
    plan = Plan(sources, [0.7, 0.3], seed=3, batch=24, window=10)
    return list(loader(sources, plan, rank, world, 7, 17, CODEC, SPEC, workers))


def parts(batch: Batch) -> list[Any]:
    """All of a batch, comparable by ==."""
    return [
        value.tolist() if isinstance(value, (torch.Tensor, np.ndarray)) else value for value in vars(batch).values()
    ]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_change_nothing(workers: int) -> None:
    wanted = batches(two_sources())
    found = batches(two_sources(), workers=workers)
    assert len(wanted) == len(found) == 10
    for one, other in zip(wanted, found):
        assert parts(one) == parts(other)
        assert other.images.dtype == torch.uint8
        assert {one.widths.dtype, one.labels.dtype, one.lengths.dtype} == {torch.int64}
        assert one.centres.dtype == torch.float32


def test_ranks_have_their_rows_of_the_planned_batch() -> None:
    whole = batches(two_sources())
    ranks = [batches(two_sources(), rank, 3) for rank in range(3)]
    for batch, *shares in zip(whole, *ranks):
        assert batch.texts == tuple(text for share in shares for text in share.texts)
        assert np.array_equal(batch.ids, np.concatenate([share.ids for share in shares]))
        assert torch.equal(batch.labels, torch.cat([share.labels for share in shares]))
        assert torch.equal(batch.widths, torch.cat([share.widths for share in shares]))


def test_a_batch_holds_what_its_ids_say() -> None:
    sources = two_sources()
    for batch in batches(sources):
        assert batch.images.shape[:3] == (24, 1, 32)
        labels, centres = batch.labels.split(batch.lengths.tolist()), batch.centres.split(batch.lengths.tolist())
        for row, (source, number) in enumerate(batch.ids.tolist()):
            item = sources[source].item(number)
            line = prepare(item.pixels, sources[source].direction, SPEC)
            width = int(batch.widths[row])
            assert width == line.shape[1] == sources[source].widths(np.array([number]))[0]
            assert np.array_equal(batch.images[row, 0, :, :width].numpy(), line)
            assert batch.texts[row] == item.text
            assert CODEC.decode(labels[row].tolist()) == item.text.replace(" ", "")
            assert len(centres[row]) == len(labels[row])


def item(direction: str, **rest: Any) -> Item:
    """Three characters on a line 64 px thick and 200 long, the middle one a space."""
    pixels = np.zeros((64, 200), np.uint8)
    boxes = np.array([[10, 5, 40, 50], [60, 30, 0, 0], [151, 8, 32, 48]], np.int32)
    for x, y, w, h in boxes.tolist():
        pixels[y : y + h, x : x + w] = 255
    if direction == "vertical":
        pixels, boxes = np.ascontiguousarray(pixels.T), boxes[:, [1, 0, 3, 2]]
    return replace(Item("k", pixels, "一 二", boxes), **rest)


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_centres_are_in_the_middle_of_the_prepared_characters(direction: str) -> None:
    batch = collate([item(direction)], [direction], CODEC, SPEC, NO_IDS)
    assert batch.centres.tolist() == [15.0, 83.5]  # half of 10 + 40 / 2 and 151 + 32 / 2: the line is made 32 px high
    assert batch.labels.tolist() == [1, 2]
    ink = np.flatnonzero(batch.images[0, 0, 16].numpy() > 127)
    inside = [ink[(ink > centre - 12) & (ink < centre + 12)] for centre in batch.centres.tolist()]
    assert [(run[0] + run[-1] + 1) / 2 for run in inside] == batch.centres.tolist()


def test_a_space_class_keeps_the_spaces() -> None:
    batch = collate([item("horizontal")], ["horizontal"], Codec(CODEC.charset, space=True), SPEC, NO_IDS)
    assert batch.labels.tolist() == [1, len(CHARS) + 1, 2]
    assert batch.centres.tolist() == [15, 30, 83.5]
    assert batch.lengths.tolist() == [3]


def test_centres_are_minus_1_without_boxes() -> None:
    items = [item("horizontal", boxes=None), item("horizontal", text="", boxes=np.zeros((0, 4), np.int32))]
    batch = collate(items, ["horizontal"] * 2, CODEC, SPEC, NO_IDS)
    assert batch.centres.tolist() == [-1, -1]
    assert batch.lengths.tolist() == [2, 0]
    assert batch.texts == ("一 二", "")


def test_a_label_out_of_the_charset_names_the_sample() -> None:
    with pytest.raises(UserError, match=r"sample k: .*龘"):
        collate([item("horizontal", text="一 龘")], ["horizontal"], CODEC, SPEC, NO_IDS)


def test_a_batch_moves_as_a_whole() -> None:
    batch = batches(two_sources())[0]
    moved = batch.to("meta")
    tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    assert [tensor.device.type for tensor in tensors] == ["meta"] * 5
    assert moved.texts == batch.texts
    assert moved.ids is batch.ids


@pytest.mark.skipif(not torch.cuda.is_available(), reason="pinning memory needs a GPU")
@pytest.mark.parametrize("workers", [0, 1])
def test_batches_for_a_gpu_are_pinned(workers: int) -> None:
    found = batches(two_sources(), workers=workers)
    assert all(batch.images.is_pinned() and batch.centres.is_pinned() for batch in found)
    assert [parts(batch.to("cuda").to("cpu")) for batch in found] == [parts(batch) for batch in found]


def test_blocks_are_asked_for_a_window_ahead() -> None:
    sources = two_sources()
    plan = Plan(sources, [0.7, 0.3], seed=3, batch=24, window=10)
    assert plan.steps == 5
    steps = loader(sources, plan, 1, 2, 7, 17, CODEC, SPEC, 0)
    windows = [plan.blocks(step, 1, 2) for step in (5, 10, 15)]
    wanted = [[[block for number, block in window if number == k] for window in windows] for k in range(2)]
    for taken in range(1, 11):
        next(steps)
        known = 2 if taken <= 3 else 3  # steps 7, 8, 9 are of the window that began at 5
        for source, asked in zip(sources, wanted):
            due = [block for window in asked[:known] for block in window]
            end = time.monotonic() + 10
            while source.asked != due and time.monotonic() < end:  # a thread asks
                time.sleep(0.01)
            assert source.asked == due
    assert list(steps) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_give_what_was_written(tmp_path: Path, workers: int) -> None:
    source = open_source(str(shard_set.make_set(tmp_path, {"train": 96}, "vertical")), "train")
    plan = Plan([source], [1], seed=1, batch=12, window=8)  # a window is a pass
    found = list(loader([source], plan, 0, 1, 0, 8, Codec(source.charset), SPEC, workers))
    texts = sorted(text for batch in found for text in batch.texts)
    assert texts == sorted(shard_set.line("vertical", "train", index).text for index in range(96))
    for batch in found:
        for number, width, text in zip(batch.ids[:, 1].tolist(), batch.widths.tolist(), batch.texts):
            made = shard_set.line("vertical", "train", number)
            assert text == made.text
            assert width == prepare(made.pixels, "vertical", SPEC).shape[1]


def darker(sample: dict[str, Any]) -> dict[str, Any]:
    """What a user might do with a sample."""
    return {**sample, "image": sample["image"] // 2}


def long(sample: dict[str, Any]) -> bool:
    return len(sample["txt"]) > 3


def test_users_stages_follow_in_a_webdataset_pipeline() -> None:
    sources = two_sources()
    plan = Plan(sources, [0.7, 0.3], seed=3, batch=24, window=10)
    first = partial(samples, sources, plan, 1, 2, 7, 17)
    pipeline = wds.DataPipeline(first, wds.map(darker), wds.select(long), wds.to_tuple("__key__", "image", "txt"))
    planned = [sources[k].item(number) for step in range(7, 17) for k, number in plan.local(step, 1, 2).tolist()]
    wanted = [item for item in planned if len(item.text) > 3]
    found = list(pipeline)
    assert [(key, text) for key, _, text in found] == [(item.key, item.text) for item in wanted]
    assert all(np.array_equal(image, item.pixels // 2) for (_, image, _), item in zip(found, wanted))
    assert 0 < len(wanted) < len(planned)
    batched = wds.DataPipeline(first, wds.to_tuple("txt"), wds.batched(12))
    assert [tuple(batch[0]) for batch in batched] == [batch.texts for batch in batches(sources, 1, 2)]


def test_the_pipeline_is_shared_out_to_a_dataloaders_workers() -> None:
    sources = two_sources()
    plan = Plan(sources, [0.7, 0.3], seed=3, batch=24, window=10)
    pipeline = wds.DataPipeline(partial(samples, sources, plan, 0, 1, 7, 17), wds.to_tuple("__key__"), wds.batched(24))
    found = DataLoader(pipeline, batch_size=None, num_workers=2, multiprocessing_context="forkserver")
    keys = [[sources[k].item(number).key for k, number in plan.batch(step).tolist()] for step in range(7, 17)]
    assert [list(batch[0]) for batch in found] == keys  # DataLoader takes from its workers in turn
