"""Lines chosen from a source: the short ones, and those with rare characters more often."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections import Counter
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import train_runs
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import Faulty
from shard_set import in_process, make_set
from small_set import CHARS
from train_sources import MemorySource, memory

from gen.errors import UserError
from tools import index
from tools.index_scan import scan
from train.chosen import MOST, Chosen, balance, repeated, short, times
from train.cli import main
from train.codec import Codec
from train.data import loader
from train.image import ImageSpec
from train.plan import Plan
from train.shards import open_source
from train.source import Ints

torch.set_num_threads(1)
OFTEN = st.lists(st.integers(1, MOST), min_size=12, max_size=300).map(np.array)


@given(st.integers(1, 23), st.integers(1, 40))
@settings(max_examples=20)
def test_short_lines_keep_their_blocks(longest: int, block: int) -> None:
    whole = memory(150, block)
    assert whole.blocks is not None
    lengths = whole.lengths(np.arange(150))
    chosen = short(whole, longest)
    assert chosen.blocks is not None
    expected = [item.text for number, item in enumerate(whole.read(range(150))) if lengths[number] <= longest]
    ids = np.arange(int(chosen.blocks.sum()))
    assert [item.text for item in chosen.read(ids.tolist())] == expected
    assert len(chosen.blocks) == len(whole.blocks)
    assert chosen.lengths(ids).tolist() == [len(text) for text in expected]
    assert chosen.widths(ids).tolist() == whole.widths(np.flatnonzero(lengths <= longest)).tolist()
    per_block = np.add.reduceat(lengths <= longest, np.cumsum(whole.blocks) - whole.blocks)
    assert chosen.blocks.tolist() == per_block.tolist()


def test_a_plan_deals_short_lines_from_their_own_blocks() -> None:
    whole = memory(900, 30)
    chosen = pickle.loads(pickle.dumps(short(whole, 2)))
    assert chosen.blocks.min() == 0  # a block without any
    plan = Plan([chosen], [1], seed=1, batch=12, window=2)
    for number, block in plan.blocks(0, 0, 1):
        assert number == 0
        assert chosen.blocks[block] > 0
    needed = {int(chosen.ids[row[1]]) // 30 for step in range(plan.steps) for row in plan.batch(step)}
    assert {block for _, block in plan.blocks(0, 0, 1)} == needed
    chosen.prefetch([3, 1])
    assert chosen.source.asked == [3, 1]


def test_no_short_line_at_all() -> None:
    whole = memory(4)
    shortest = int(whole.lengths(np.arange(4)).min())
    with pytest.raises(UserError, match=rf"memory has no line of at most {shortest - 1} characters: drop the stage"):
        short(whole, shortest - 1)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=200).map(np.array), st.floats(0, 1))
def test_a_line_comes_as_often_as_its_rarest_character_is_rare(rarest: Ints, power: float) -> None:
    often = times(rarest, power)
    wanted = [min(MOST, max(1, (float(np.median(rarest)) / max(1, number)) ** power)) for number in rarest.tolist()]
    assert often.min() >= 1  # no line is lost
    assert np.abs(often - wanted).max() < 1 + 1e-6
    assert np.abs(np.cumsum(often) - np.cumsum(wanted)).max() < 1 + 1e-6
    assert power > 0 or often.max() == 1


@given(OFTEN, st.integers(1, 9))
def test_a_pass_has_each_line_as_often_as_it_should(often: Ints, block: int) -> None:
    whole = memory(len(often), block)
    chosen = repeated(whole, often)
    assert whole.blocks is not None
    assert chosen.blocks is not None
    assert np.bincount(chosen.ids).tolist() == often.tolist()
    # Each block has the lines of its own run of the source's blocks.
    run = chosen.ids // block // chosen.together
    assert run.tolist() == np.repeat(np.arange(len(chosen.blocks)), chosen.blocks).tolist()
    ids = np.arange(len(chosen.ids))
    assert chosen.widths(ids).tolist() == whole.widths(chosen.ids).tolist()
    plan = Plan([chosen], [1], seed=3, batch=12, window=len(ids) // 12)  # a window is a pass
    seen = np.concatenate([plan.batch(step)[:, 1] for step in range(plan.steps)])
    assert len(set(seen.tolist())) == len(seen) == len(ids) // 12 * 12
    counts = np.bincount(chosen.ids[seen], minlength=len(often))
    assert (counts <= often).all()
    assert often.sum() - counts.sum() < 12


@given(st.integers(0, 2**40), OFTEN, st.integers(1, 20), st.integers(0, 10**6))
@settings(max_examples=30)
def test_batches_with_repeats_are_the_same_for_every_world(seed: int, often: Ints, block: int, step: int) -> None:
    sources = [repeated(memory(len(often), block), often), MemorySource()]
    plan = Plan(sources, [0.7, 0.3], seed=seed, batch=24, window=20)
    for world in (2, 3, 12):
        parts = [plan.local(step, rank, world) for rank in range(world)]
        assert np.array_equal(np.concatenate(parts), plan.batch(step))
        for rank, part in enumerate(parts):
            needed = {block for number, block in plan.blocks(step, rank, world) if number == 0}
            ends = np.cumsum(sources[0].blocks)
            assert set(np.searchsorted(ends, part[part[:, 0] == 0, 1], side="right").tolist()) <= needed


def repeats_in_batches(source: Chosen, batch: int) -> float:
    """The share of lines that their batch has once already, over some windows."""
    plan = Plan([source], [1], seed=1, batch=batch, window=256)
    rows = [source.ids[plan.batch(step)[:, 1]] for step in range(4 * plan.steps)]
    return sum(len(row) - len(set(row.tolist())) for row in rows) / (len(rows) * batch)


@pytest.mark.parametrize("batch", [48, 384])
def test_repeats_are_in_different_batches(batch: int) -> None:
    whole = memory(60_000, 500)
    often = np.random.default_rng(1).integers(1, 6, 60_000)
    assert repeats_in_batches(Chosen(whole, np.repeat(np.arange(60_000), often)), batch) > 0.05  # side by side
    assert repeats_in_batches(repeated(whole, often), batch) < 0.002


@pytest.mark.parametrize("power", [0.25, 0.5, 1])
def test_rare_characters_have_a_larger_share_of_what_is_seen(power: float) -> None:
    """Every hundredth line has the rare character, which occurs 200 times; the others occur 2,000 times."""
    rarest = np.where(np.arange(20_000) % 100 == 7, 200, 2000)
    sources, notes = balance([memory(20_000, 100, rarities=rarest)], power)
    (chosen,) = sources
    assert isinstance(chosen, Chosen)
    plan = Plan([chosen], [1], seed=1, batch=48, window=64)
    steps = 2 * len(chosen.ids) // 48  # two passes
    seen = chosen.ids[np.concatenate([plan.batch(step)[:, 1] for step in range(steps)])]
    assert len(set(seen.tolist())) >= 20_000 - 2 * 12
    share = 0.01 * 10**power / (0.01 * 10**power + 0.99)
    assert (seen % 100 == 7).mean() == pytest.approx(share, rel=0.02)
    assert notes == [
        f"memory: a pass over its 20000 lines shows {len(chosen.ids)}, those with rare characters up to "
        f"{-int(-(10**power) // 1)} times (data.balance)"
    ]


def test_what_knows_no_rare_characters_stays_as_it_is() -> None:
    sources = [MemorySource(), memory(50), memory(50, rarities=np.arange(1, 51))]
    found, notes = balance(sources, 0.5)
    assert found[:2] == sources[:2]
    assert isinstance(found[2], Chosen)
    assert len(notes) == 2  # nothing of the one without end
    assert "memory stays as it is in spite of data.balance: it does not say how rare" in notes[0]


def test_short_lines_are_balanced_among_themselves() -> None:
    whole = memory(600, 25, rarities=np.random.default_rng(1).integers(1, 1000, 600))
    some = short(whole, 5)
    rarest = some.rarest(np.arange(len(some.ids)))
    assert rarest is not None
    ((found,), _) = balance([some], 0.5)
    assert isinstance(found, Chosen)
    assert np.bincount(found.ids).tolist() == times(rarest, 0.5).tolist()
    texts = {item.text for item in found.read(range(len(found.ids)))}
    assert texts == {item.text for item in some.read(range(len(some.ids)))}
    found.prefetch([0])
    assert some.blocks is not None
    assert whole.asked == [block for block in range(found.together) if some.blocks[block]]


def tars(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """300 lines in three indexed tars with blocks of about 6 kB; 天 is in every line, another character in few."""
    random = np.random.default_rng(5)
    folder.mkdir()
    for number in range(3):
        with tarfile.open(folder / f"{number}.tar", "w") as out:
            for k in range(100):
                pixels = np.repeat(random.integers(0, 256, (32, 1), np.uint8), 64 + k % 20, 1)
                label = "天" + CHARS[min(random.geometric(0.2), len(CHARS)) - 1]
                for name, data in (("png", cv2.imencode(".png", pixels)[1].tobytes()), ("txt", label.encode())):
                    info = tarfile.TarInfo(f"{number}-{k}.{name}")
                    info.size = len(data)
                    out.addfile(info, io.BytesIO(data))
    in_process(patch, index)
    patch.setattr(index, "scan", partial(scan, block_bytes=6000))
    assert index.main([str(folder), "--val", "0"]) == 0
    return folder


def test_repeats_are_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Faulty(tars(tmp_path / "set", monkeypatch)) as server:
        source = open_source(server.url, "train", tmp_path / "cache")
        ((chosen,), _) = balance([source], 1)
        assert isinstance(chosen, Chosen)
        assert len(source.blocks) > 40
        assert chosen.together > 1
        plan = Plan([chosen], [1], seed=1, batch=24, window=16)
        codec, spec = Codec(source.charset), ImageSpec()
        seen: Counter[int] = Counter()
        for batch in loader([chosen], plan, 0, 1, 0, 2 * len(chosen.ids) // 24, codec, spec, 0):  # two passes
            seen.update(chosen.ids[batch.ids[:, 1]].tolist())
        assert len(seen) > 250
        assert max(seen.values()) > 4
        fetched = Counter(request for request in server.requests if request[0].endswith(".tar"))
        assert set(fetched.values()) == {1}
        assert len(fetched) == len(source.blocks)


def test_a_run_is_balanced_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tars(tmp_path / "set", monkeypatch)
    config = """
model: {widths: [8, 8, 16, 16], depths: [0, 1, 0, 1], dim: 16}
data: {workers: 0, val: 0, window: 16, balance: 1}
learning: {start: random}
stages: [{name: full, lines: 240, batch: 24}]
"""
    generated = make_set(tmp_path / "other", {"train": 40})
    arguments = train_runs.flags(tmp_path, data=str(place), config=config)
    charset = sorted({*open_source(str(generated), "train").charset.chars, *CHARS})
    (tmp_path / "charset.txt").write_text("\n".join(charset), encoding="utf-8")
    assert main([*arguments, "--data", str(generated), "--steps", "2"]) == 0
    err = capsys.readouterr().err
    assert f"{place}: a pass over its 300 lines shows " in err
    assert f"{generated} stays as it is in spite of data.balance" in err
    other = ["--out", str(tmp_path / "plain"), "--set", "data.balance=0"]
    assert main([*arguments, "--data", str(generated), "--steps", "1", *other]) == 0
    assert "data.balance" not in capsys.readouterr().err
