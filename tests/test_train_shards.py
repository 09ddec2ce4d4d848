"""Shards on a disk: every sample as it was written, and anything damaged refused by name."""

from __future__ import annotations

import gc
import io
import os
import pickle
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from weakref import WeakSet

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_set import CHARS, line, make_set
from webdataset.tariterators import base_plus_ext

from gen import tar
from gen.contract import MANIFEST
from gen.errors import UserError
from gen.image import encode_image
from train.image import ImageSpec, prepare
from train.members import clean, key_and_suffix, members, parse
from train.shards import BadShard, ShardSource, open_source, open_sources
from train.source import Source

COUNTS = {"train": 70, "val": 15}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    for direction in ("horizontal", "vertical"):
        make_set(folder / direction, COUNTS, direction)
    make_set(folder / "plain", COUNTS, meta=False)
    return folder


@pytest.fixture
def place(sets: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(sets / "horizontal" / "horizontal", tmp_path / "copy"))


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_samples_are_read_as_they_were_written(sets: Path, direction: str, split: str) -> None:
    source: Source = open_source(str(sets / direction / direction), split)
    assert (source.direction, source.charset) == (direction, CHARS)
    assert source.blocks is not None
    assert source.blocks.sum() == COUNTS[split]
    assert len(source.blocks) > COUNTS[split] // 20
    ids = np.random.default_rng(1).permutation(COUNTS[split])
    items = source.read(ids)
    for number, item in zip(ids.tolist(), items):
        truth = line(direction, split, number)
        assert (item.key, item.text, item.font, item.size) == (truth.key, truth.text, truth.font, truth.size)
        assert item.boxes is not None
        assert item.boxes.dtype == np.int32
        assert np.array_equal(item.boxes, truth.boxes)  # type: ignore[arg-type]
        assert item.pixels.shape == truth.pixels.shape
        assert np.abs(item.pixels.astype(int) - truth.pixels).max() < 12
    prepared = [prepare(item.pixels, direction, ImageSpec()) for item in items]
    assert source.widths(ids).tolist() == [pixels.shape[1] for pixels in prepared]
    assert source.lengths(ids).tolist() == [len(item.text) for item in items]
    assert source.read([]) == []


def test_a_set_without_json_has_no_boxes(sets: Path) -> None:
    item = open_source(str(sets / "plain" / "horizontal"), "train").read([69])[0]
    assert (item.text, item.boxes, item.font, item.size) == (line("horizontal", "train", 69).text, None, "", 0)


def test_a_pickled_source_reads_on_and_stays_small(sets: Path) -> None:
    source = open_source(str(sets / "horizontal" / "horizontal"), "train")
    before = source.read([3, 60])
    data = pickle.dumps(source)
    again: ShardSource = pickle.loads(data)
    assert [item.key for item in again.read([3, 60])] == [item.key for item in before]
    arrays = [value for value in vars(source).values() if isinstance(value, np.ndarray) and len(value) == len(source)]
    assert sum(array.itemsize for array in arrays) <= 40


def test_few_files_stay_open(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened() -> int:
        gc.collect()
        files = Path("/proc/self/fd")
        return sum(os.path.realpath(files / name).startswith(f"{place}/") for name in os.listdir(files))

    monkeypatch.setattr("train.shards._OPEN", 3)
    monkeypatch.setattr("train.shards._ALL", 3)
    monkeypatch.setattr("train.shards._reading", WeakSet())
    source = open_source(str(place), "train")
    order = np.random.default_rng(2).permutation(70)
    assert [item.key for item in source.read(order)] == [line("horizontal", "train", k).key for k in order]
    assert opened() == 3
    other = open_source(str(place), "train")
    for number in order[:20]:  # 3 in all, so that many sources do not take all that a process may open
        assert other.read([number])[0].key == source.read([number])[0].key
    assert opened() == 2
    del source, other
    assert opened() == 0


def test_excluded_shards_are_gone(sets: Path) -> None:
    source = open_source(str(sets / "horizontal" / "horizontal"), "train")
    bad = {(source.name, "train-000001"), (source.name, "train-000003"), ("elsewhere", "train-000000")}
    rest = open_source(source.name, "train", exclude=bad)
    assert [item.key[-2:] for item in rest.read(range(40))] == [f"{k:02}" for k in [*range(20), *range(40, 60)]]
    assert rest.widths(np.array([20])) == source.widths(np.array([40]))
    assert len(rest) == rest.blocks.sum() == 40
    assert pickle.loads(pickle.dumps(rest)).read([20])[0].key.endswith("40")
    with pytest.raises(UserError, match="no shard is left"):
        open_source(source.name, "train", exclude={(source.name, f"train-00000{k}") for k in range(4)})


def test_both_directions_of_a_set_are_found(tmp_path: Path, sets: Path) -> None:
    for direction in ("horizontal", "vertical"):
        shutil.copytree(sets / direction / direction, tmp_path / direction)
    assert [source.direction for source in open_sources(str(tmp_path), "val")] == ["horizontal", "vertical"]
    (one,) = open_sources(f"{tmp_path}/vertical/", "val")
    assert one.direction == "vertical"


def test_places_without_a_set_are_refused(tmp_path: Path, place: Path) -> None:
    for where in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(UserError, match=r"manifest\.json.*--finish.*tools\.index"):
            open_sources(str(where), "train")
    with pytest.raises(UserError, match="no test samples"):
        open_source(str(place), "test")
    whole = (place / MANIFEST).read_text(encoding="utf-8")
    for damaged in (whole[:200], whole.replace(CHARS.chars, CHARS.chars[::-1]), "[]"):
        (place / MANIFEST).write_text(damaged, encoding="utf-8")
        with pytest.raises(UserError, match=re.escape(f"{place}/{MANIFEST}: ")):
            open_source(str(place), "train")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [("json", cut), ("json", Path.unlink), ("json", lambda path: flip(path, 900)), ("tar", cut), ("tar", Path.unlink)],
)
def test_a_shard_that_cannot_be_right_is_named_at_once(
    place: Path, suffix: str, damage: Callable[[Path], None]
) -> None:
    damage(place / f"train-000002.{suffix}")
    with pytest.raises(BadShard, match="shard train-000002 of") as caught:
        open_source(str(place), "train")
    error: BadShard = pickle.loads(pickle.dumps(caught.value))
    assert (error.source, error.shard, str(error)) == (str(place), "train-000002", str(caught.value))
    assert len(open_source(str(place), "train", exclude=[(error.source, error.shard)])) == 50
    assert len(open_source(str(place), "val")) == 15


@given(where=st.floats(0, 1, exclude_max=True))
@settings(max_examples=25)
def test_any_flipped_bit_of_a_block_is_noticed(sets: Path, where: float) -> None:
    place = sets / "plain" / "horizontal"
    path = place / "val-000000.tar"
    last = open_source(str(place), "val")._blocks[-1]
    position = int(where * (last.offset + last.bytes))
    flip(path, position)
    try:
        with pytest.raises(BadShard, match="sha256"):
            open_source(str(place), "val").read(range(15))
    finally:
        flip(path, position)


def test_a_flipped_bit_is_found_before_a_sample_is_taken(place: Path) -> None:
    source = open_source(str(place), "train")
    counts = source.blocks.tolist()
    bad = int(np.searchsorted(np.cumsum(counts), 25, side="right"))  # the block of sample 25
    first, last = sum(counts[:bad]), sum(counts[: bad + 1]) - 1
    offset = source._blocks[bad].offset
    flip(place / "train-000001.tar", offset + 700)
    for number in {first, last}:
        with pytest.raises(BadShard, match=rf"shard train-000001 of .* bytes {offset} to .*sha256") as caught:
            source.read([0, number])
        assert caught.value.shard == "train-000001"
    assert len(source.read([k for k in range(70) if not first <= k <= last])) == 70 - counts[bad]


def test_a_tar_that_shrinks_or_goes_while_in_use_is_named(place: Path) -> None:
    source = open_source(str(place), "train")
    source.read([0])
    os.truncate(place / "train-000000.tar", 600)
    with pytest.raises(BadShard, match=r"shard train-000000.*shorter"):
        source.read([0])
    (place / "train-000001.tar").unlink()
    with pytest.raises(BadShard, match=r"shard train-000001.*No such file"):
        source.read([20])
    with pytest.raises(IndexError):
        source.read([70])


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_members_of_a_record_are_those_that_tarfile_finds(format: int, data: st.DataObject) -> None:
    names = st.from_regex(r"(\./)?(d{1,90}/){0,2}(e{1,70}/)?[a-z字]{1,30}(\.[a-zA-Z字]{1,4}){0,2}", fullmatch=True)
    files = data.draw(st.lists(st.tuples(names, st.binary(max_size=1100), st.sampled_from("05271")), max_size=6))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, content, kind in files:
            info = tarfile.TarInfo(name)
            info.type = kind.encode()
            info.mtime = 1.5 if format == tarfile.PAX_FORMAT else 1
            if kind in "07":
                info.size = len(content)
            try:
                archive.addfile(info, io.BytesIO(content))
            except ValueError:
                assert format == tarfile.USTAR_FORMAT  # a name that does not fit
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as archive:
        expected = [(each.name, archive.extractfile(each).read()) for each in archive if each.isreg()]  # type: ignore[union-attr]
    assert list(members(buffer.getvalue())) == expected


@given(st.text("ab./_字Ä", max_size=12))
def test_names_are_split_as_webdataset_splits_them(name: str) -> None:
    key, suffix = base_plus_ext(name)
    assert key_and_suffix(name) == (key or "", (suffix or "").lower())


def test_a_damaged_record_says_what_is_wrong() -> None:
    def record(*files: tuple[str, bytes]) -> bytes:
        return b"".join(tar.header(name.encode(), len(data)) + data + tar.padding(len(data)) for name, data in files)

    for data, words in (
        (b"x" * 600, "no tar header"),
        (record(("a.jpg", b"123"))[:513], "ends inside"),
        (record(("a.txt", b"123")), "sample a: no image"),
        (record(("a.jpg", b"123")), "sample a: no txt"),
        (record(("a.jpg", b"123"), ("b.txt", b"x")), "sample a: no txt"),
        (record(("a.jpg", b"123"), ("a.txt", b"x")), "sample a: the image cannot"),
        (record(("a.jpg", b"1"), ("__a__/b.txt", b"x"), ("a.txt", b"\xff")), "sample a: the (image|label)"),
        (record(("a.jpg", b""), ("a.txt", b"x")), "sample a: the image cannot"),
    ):
        with pytest.raises(ValueError, match=words):
            parse(data, ours=False)
    image = bytes(encode_image(np.zeros((32, 40), np.uint8), "jpg", 90))
    for meta, words in (
        (b'{"boxes": [[1, 2, 3, 4294967296]]}', "sample a: .*int32"),
        (b"\xff", "sample a: the json is"),
    ):
        with pytest.raises(ValueError, match=words):
            parse(record(("a.jpg", image), ("a.txt", b"x"), ("a.json", meta)), ours=True)


def test_foreign_labels_are_cleaned() -> None:
    assert clean(" \t一 二\u3000\u3000三\r\n") == "一 二 三"
