"""The plan: the same batches for every number of processes, all samples once a pass, little padding, few blocks."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from train_sources import MemorySource, memory

from gen.errors import UserError
from train.plan import Plan
from train.source import Ints

WORLDS = (1, 2, 3, 4, 6, 12)
SEEDS = st.integers(0, 2**63 - 1)
QUICK = settings(max_examples=40)


def lane_length(source: MemorySource, lanes: int = 12) -> int:
    assert source.blocks is not None
    return int(source.blocks.sum()) // lanes


def lanes_of(plan: Plan, steps: int, batch: int) -> Ints:
    """What each lane gives in that many steps: int64 [12, samples, 2]."""
    rows = np.stack([plan.batch(step) for step in range(steps)])
    return rows.reshape(steps, 12, batch // 12, 2).swapaxes(0, 1).reshape(12, -1, 2)


def ids_of_window(plan: Plan, number: int) -> Ints:
    """Samples of all batches of a window, in order."""
    return np.concatenate([plan.batch(step)[:, 1] for step in range(number * plan.steps, (number + 1) * plan.steps)])


@QUICK
@given(SEEDS, st.integers(12, 900), st.integers(1, 70), st.integers(1, 6), st.integers(1, 90), st.integers(0, 10**6))
def test_batches_are_the_same_for_every_world(
    seed: int, samples: int, block: int, share: int, window: int, step: int
) -> None:
    sources = [memory(samples, block), MemorySource(), memory(77, 10, seed=2)]

    def fresh() -> Plan:
        return Plan(sources, [0.5, 0.2, 0.3], seed=seed, batch=12 * share, window=window)

    wanted = fresh().batch(step)
    assert wanted.shape == (12 * share, 2)
    assert wanted.dtype == np.int64
    for world in WORLDS:
        plan = fresh()
        plan.batch(step + 3)  # what was asked for before makes no difference
        parts = [plan.local(step, rank, world) for rank in range(world)]
        assert {len(part) for part in parts} == {12 * share // world}
        assert np.array_equal(np.concatenate(parts), wanted)


@QUICK
@given(SEEDS, st.lists(st.integers(0, 60), min_size=1, max_size=40), st.integers(0, 3))
def test_a_sample_comes_once_in_a_pass(seed: int, blocks: list[int], number: int) -> None:
    source = MemorySource(np.array(blocks, np.int64))
    total = sum(blocks)
    if total < 12:
        with pytest.raises(UserError, match=f"{total} samples, too few"):
            Plan([source], [1], seed=seed, batch=12)
        return
    plan = Plan([source], [1], seed=seed, batch=12, window=total // 12)  # a window is a pass
    ids = ids_of_window(plan, number)
    assert len(ids) == len(set(ids.tolist())) == total // 12 * 12
    assert ids.min() >= 0
    assert ids.max() < total


def test_passes_put_blocks_in_different_orders() -> None:
    plan = Plan([memory(1200, 10)], [1], seed=1, batch=12, window=100)  # a window is a pass
    first = [frozenset(ids_of_window(plan, number)[::12].tolist()) for number in range(5)]  # of the first lane
    assert len(set(first)) == 5
    blocks = {number // 10 for number in first[0]}
    assert len(blocks) == 10  # whole ones
    assert max(blocks) - min(blocks) > 9  # from all over the set


@QUICK
@given(SEEDS, st.integers(1200, 3000), st.integers(1, 200), st.integers(1, 8), st.integers(1, 300))
def test_windows_run_across_passes_and_use_nearly_everything(
    seed: int, samples: int, block: int, share: int, window: int
) -> None:
    source = memory(samples, block)
    plan = Plan([source], [1], seed=seed, batch=12 * share, window=window)
    length = lane_length(source)
    windows = -(-3 * length // (plan.steps * share))
    counts = Counter(lanes_of(plan, windows * plan.steps, 12 * share)[:, :, 1].ravel().tolist())
    # After 3 passes and a part of the next: what all passes used came 3 or 4 times.
    assert max(counts.values()) <= -(-windows * plan.steps * share // length)
    assert len(counts) >= samples - 3 * 11
    assert 12 * length >= 0.99 * samples


@QUICK
@given(SEEDS, st.sampled_from(WORLDS), st.integers(10, 14), st.integers(3, 60), st.integers(-2, 2))
def test_ranks_touch_few_blocks_of_others(seed: int, world: int, each: int, block: int, more: int) -> None:
    source = memory(max(120, each * world * block + more), block)
    assert source.blocks is not None
    plan = Plan([source], [1], seed=seed, batch=12, window=lane_length(source))  # a window is a pass
    for rank in range(world):
        blocks = [number for _, number in plan.blocks(0, rank, world)]
        touched = source.blocks[blocks].sum()
        if len(source.blocks) >= 10 * world:
            assert touched <= 1.2 * source.blocks.sum() / world
        ids = np.concatenate([plan.local(step, rank, world)[:, 1] for step in range(plan.steps)])
        starts = np.cumsum(source.blocks) - source.blocks
        order = list(dict.fromkeys((np.searchsorted(starts, ids, side="right") - 1).tolist()))
        assert order == blocks  # all that is needed, nothing else, in order of need


@pytest.mark.parametrize(("batch", "window"), [(24, 512), (96, 512), (96, 1024), (192, 1024), (384, 1024)])
def test_padding_stays_below_15_percent(batch: int, window: int) -> None:
    # Labels of 1 to 24 characters of 16 to 31 px, as gen-default draws them; padded to multiples of 32 px.
    sources = [memory(60_000, 500), memory(30_000, 500, seed=2, direction="vertical")]
    plan = Plan(sources, [2, 1], seed=5, batch=batch, window=window)
    own = padded = 0
    for step in range(2 * plan.steps):
        rows = plan.batch(step)
        widths = np.where(rows[:, 0] == 0, sources[0].widths(rows[:, 1]), sources[1].widths(rows[:, 1]))
        own += widths.sum()
        padded += -(-widths.max() // 32) * 32 * batch
    assert 0 < 1 - own / padded < 0.15


@QUICK
@given(
    SEEDS,
    st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=5),
    st.integers(1, 5),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_the_mixture_keeps_to_the_weights(
    seed: int, weights: list[float], share: int, window: int, windows: int
) -> None:
    sources = [MemorySource() if k % 2 else memory(500, 50, seed=k) for k in range(len(weights))]
    plan = Plan(sources, weights, seed=seed, batch=12 * share, window=window)
    rows = lanes_of(plan, windows * plan.steps, 12 * share)
    total = rows.shape[1]
    for k, weight in enumerate(weights):
        counts = (rows[:, :, 0] == k).sum(axis=1)
        assert len(set(counts.tolist())) == 1  # each lane alike
        assert abs(counts[0] - total * weight / sum(weights)) < len(weights)


def test_written_weights_are_exact() -> None:
    sources = [memory(500), memory(500), MemorySource()]
    rows = lanes_of(Plan(sources, [0.7, 0.2, 0.1], seed=1, batch=12, window=10), 30, 12)
    assert np.bincount(rows[0, :, 0]).tolist() == [21, 6, 3]


def test_both_directions_are_in_nearly_every_batch() -> None:
    plan = Plan([memory(5000), memory(5000, seed=2, direction="vertical")], [1, 1], seed=1, batch=48)
    shares = [(plan.batch(step)[:, 0] == 0).mean() for step in range(plan.steps)]
    assert min(shares) > 0.2
    assert max(shares) < 0.8


@given(SEEDS, st.integers(1, 4), st.integers(1, 30))
@QUICK
def test_an_endless_source_never_repeats(seed: int, share: int, window: int) -> None:
    plan = Plan([MemorySource()], [1], seed=seed, batch=12 * share, window=window)
    rows = lanes_of(plan, 4 * plan.steps, 12 * share)[:, :, 1]
    assert sorted(rows.ravel().tolist()) == list(range(rows.size))
    assert all((rows[lane] % 12 == lane).all() for lane in range(12))
    assert plan.blocks(0, 0, 1) == []
    assert plan.passes(5) == {}


def test_seed_and_window_change_the_order() -> None:
    def rows(**rest: int) -> Ints:
        return Plan([memory(5000)], [1], **{"seed": 1, "batch": 24, **rest}).batch(0)  # type: ignore[arg-type]

    assert np.array_equal(rows(), rows())
    assert not np.array_equal(rows(), rows(seed=2))
    assert not np.array_equal(rows(), rows(window=100))


def test_batches_of_a_window_come_in_any_order_of_width() -> None:
    source = memory(20_000, 500)
    plan = Plan([source], [1], seed=1, batch=48)
    widths = [source.widths(plan.batch(step)[:, 1]).mean() for step in range(plan.steps)]
    assert abs(np.corrcoef(widths, np.arange(plan.steps))[0, 1]) < 0.4


def test_these_batches_are_for_ever() -> None:
    # A change here breaks resuming of every run: then raise the version of the checkpoints.
    plan = Plan([memory(600, 50), MemorySource()], [0.75, 0.25], seed=7, batch=12, window=8)
    assert plan.batch(0)[::5].tolist() == [[0, 4], [1, 5], [0, 401]]
    assert plan.batch(100)[::5].tolist() == [[0, 376], [0, 174], [1, 310]]


def test_passes_say_how_often_a_source_was_gone_through() -> None:
    plan = Plan([memory(1200, name="large"), MemorySource(), memory(120, name="small")], [2, 1, 2], seed=1, batch=60)
    assert plan.passes(0) == {"large": 0, "small": 0}
    assert plan.passes(50) == {"large": 1, "small": 10}
    assert plan.passes(51) == {"large": 1.02, "small": 10.2}


def test_planning_costs_little_also_for_many_samples() -> None:
    plan = Plan([memory(10_000_000, 500), MemorySource()], [0.8, 0.2], seed=1, batch=96)
    begin = time.process_time()
    for step in range(10**9, 10**9 + 500):
        plan.batch(step)
    assert time.process_time() - begin < 0.25  # 0.01 ms a step on an idle machine


@pytest.mark.parametrize("world", [0, 5, 7, 8, 24])
def test_worlds_that_do_not_divide_the_lanes_are_refused(world: int) -> None:
    plan = Plan([memory(500)], [1], seed=1, batch=24)
    with pytest.raises(UserError, match=rf"{world} processes .* run 1, 2, 3, 4, 6, 12$"):
        plan.check(world)
    with pytest.raises(UserError, match="lanes"):
        plan.local(0, 0, world)


@pytest.mark.parametrize(("batch", "hint"), [(100, "96 or 108"), (7, "12"), (0, "12"), (-12, "12")])
def test_batches_that_do_not_fit_the_lanes_are_refused(batch: int, hint: str) -> None:
    with pytest.raises(UserError, match=rf"batch of {batch} .* take {hint}$"):
        Plan([memory(500)], [1], seed=1, batch=batch)


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
def test_weights_are_numbers_above_0(weight: float) -> None:
    with pytest.raises(UserError, match=f"memory: the weight {weight} "):
        Plan([memory(500), memory(500)], [1, weight], seed=1, batch=12)


def test_no_source_is_refused() -> None:
    with pytest.raises(UserError, match="--data"):
        Plan([], [], seed=1, batch=12)


def test_planning_needs_no_torch() -> None:
    check = "import sys, train.plan; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], timeout=60).returncode == 0
