"""Numbers as people write them, and which shards follow from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.contract import DIRECTIONS
from gen.errors import UserError
from gen.plan import Plan, parse_size, parse_slice, share, val_count

WAYS = st.sampled_from([DIRECTIONS, DIRECTIONS[:1], DIRECTIONS[1:]])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500", 500),
        ("20k", 20_000),
        ("20K", 20_000),
        ("1.5M", 1_500_000),
        ("1e6", 1_000_000),
        ("1E+6", 1_000_000),
        ("10_000", 10_000),
        ("10,000", 10_000),
        ("2.5e3", 2_500),
        ("1b", 10**9),
        (" 7 ", 7),
        ("0.5k", 500),
    ],
)
def test_sizes_as_people_write_them(text: str, value: int) -> None:
    assert parse_size(text, "--n") == value


@pytest.mark.parametrize(
    "text", ["0", "-5", "10X", "", "k", "1.5", "0.0001k", "1e-3", "ten", "1 0", "1e99", "inf", "２"]
)
def test_other_sizes_are_refused_with_the_value(text: str) -> None:
    if text == "２":
        assert parse_size(text, "--n") == 2  # a digit is a digit
        return
    with pytest.raises(UserError, match="whole number above 0") as caught:
        parse_size(text, "--n")
    assert f"--n {text}" in str(caught.value)


def test_slices_count_from_0() -> None:
    assert parse_slice("0/1") == (0, 1)
    assert parse_slice("99/100") == (99, 100)
    for text in ("1/1", "4/4", "-1/4", "1", "1/0", "a/b", "1/4/2", ""):
        with pytest.raises(UserError, match="i from 0 to n-1"):
            parse_slice(text)


def test_validation_is_one_percent_within_bounds() -> None:
    assert [val_count(n) for n in (1, 20_000, 50_000, 10**6, 2 * 10**6, 10**9)] == [
        200,
        200,
        500,
        10_000,
        20_000,
        20_000,
    ]


@given(st.integers(2, 10**9), WAYS)
def test_shares_add_up(n: int, ways: tuple[str, ...]) -> None:
    counts = share(n, ways)
    trains = [counts[way]["train"] for way in ways]
    assert sum(trains) == n
    assert max(trains) - min(trains) <= 1
    assert trains[0] == max(trains)


def test_too_few_for_two_directions() -> None:
    with pytest.raises(UserError, match="--n 2 or more"):
        share(1, DIRECTIONS)


@given(st.integers(2, 5000), WAYS, st.integers(1, 700), st.integers(1, 9))
def test_slices_are_a_partition_of_every_sample(n: int, ways: tuple[str, ...], size: int, slices: int) -> None:
    counts = share(n, ways)
    plan = Plan(counts, size, "id")
    tasks = [task for position in range(slices) for task in plan.slice(position, slices)]
    assert sorted(task.tar for task in tasks) == sorted(task.tar for task in plan.tasks())
    assert len({task.tar for task in tasks}) == len(tasks)
    for way in ways:
        for split, count in counts[way].items():
            spans = sorted((t.start, t.count, t.number) for t in tasks if (t.direction, t.split) == (way, split))
            assert [start for start, _, _ in spans] == list(range(0, count, size))
            assert sum(each for _, each, _ in spans) == count
            assert [number for _, _, number in spans] == list(range(len(spans)))
    lengths = [len(plan.slice(position, slices)) for position in range(slices)]
    assert max(lengths) - min(lengths) <= 1


@given(st.integers(2, 3000), st.integers(0, 3000), WAYS, st.integers(1, 400))
def test_growing_keeps_every_whole_shard(n: int, more: int, ways: tuple[str, ...], size: int) -> None:
    small = {task.tar: task for task in Plan(share(n, ways), size, "id").tasks()}
    large = {task.tar: task for task in Plan(share(n + more, ways), size, "id").tasks()}
    assert small.keys() <= large.keys()
    for name, task in small.items():
        assert large[name] == task or (task.count < large[name].count and task.start == large[name].start)


def test_more_shards_than_names_are_refused() -> None:
    with pytest.raises(UserError, match="larger --shard-size"):
        Plan(share(10**9, DIRECTIONS), 10, "id").tasks()
