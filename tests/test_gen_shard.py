"""Tars by hand against ``tarfile``, shards against stock ``webdataset``, and nothing half done under a final name."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import re
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_set import ROOT, contents, drafts, recipe, source, task

from gen import tar
from gen.contract import Sidecar, sample_key
from gen.image import encode_image
from gen.sample import Stream, render
from gen.shard import ShardBuilder, run_task
from gen.store import LocalStore, open_store


def tarfile_bytes(members: list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


@given(st.from_regex(r"[!-~]{1,100}", fullmatch=True), st.integers(0, 8**11 - 1))
def test_a_header_is_that_of_tarfile(name: str, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    name = name.rstrip("/")
    if info.name == name and not name.endswith("/"):
        assert tar.header(name.encode(), size) == info.tobuf(tarfile.USTAR_FORMAT)


def test_what_does_not_fit_a_header_is_refused() -> None:
    for name, size in ((b"x" * 101, 1), (b"x", 8**11)):
        with pytest.raises(ValueError, match="ustar"):
            tar.header(name, size)


@given(st.lists(st.tuples(st.binary(max_size=1500), st.text(max_size=9), st.binary(max_size=600)), max_size=30))
def test_an_archive_is_that_of_tarfile(samples: list[tuple[bytes, str, bytes]]) -> None:
    file = io.BytesIO()
    builder = ShardBuilder(file.write, (".jpg", ".txt", ".json"), block_bytes=4096)
    members = []
    for index, (image, text, meta) in enumerate(samples):
        key = sample_key("horizontal", "train", index)
        builder.add(key.encode(), (image, text.encode(), meta), 3, 4, len(text))
        members += [(f"{key}.jpg", image), (f"{key}.txt", text.encode()), (f"{key}.json", meta)]
    sidecar = builder.finish(task(len(samples)), "jpg")
    data = file.getvalue()
    assert data == tarfile_bytes(members)
    assert (sidecar.bytes, sidecar.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    check_blocks(sidecar, data, 4096)


def check_blocks(sidecar: Sidecar, data: bytes, least: int) -> None:
    """The blocks cover the records in order, and only the last may be smaller than ``least``."""
    records = sidecar.columns()["record"].astype(int)
    offset = first = 0
    for block in sidecar.blocks:
        assert (block.offset, block.first) == (offset, first)
        assert block.bytes == records[first : first + block.count].sum()
        assert block.sha256 == hashlib.sha256(data[offset : offset + block.bytes]).hexdigest()
        assert block.bytes >= least or block is sidecar.blocks[-1]
        assert block.bytes - records[first + block.count - 1] < least
        offset, first = offset + block.bytes, first + block.count
    assert first == sidecar.count
    assert data[offset:] == tar.end(offset)


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_a_shard_holds_what_render_gives(tmp_path: Path, direction: str) -> None:
    heard: list[int] = []
    todo = task(70, 30, direction)
    record = run_task(source(), todo, LocalStore(str(tmp_path)), heard.append)
    assert heard == [32, 64]
    files = contents(tmp_path)
    assert set(files) == {todo.tar, todo.sidecar}
    assert record.bytes == sum(map(len, files.values()))
    sidecar = Sidecar.parse(files[todo.sidecar])
    assert (sidecar.start, sidecar.count, sidecar.image) == (30, 70, "jpg")
    check_blocks(sidecar, files[todo.tar], 4 << 20)
    columns = sidecar.columns()
    with tarfile.open(tmp_path / todo.tar) as archive:
        members = archive.getmembers()
        for k in range(70):
            sample = render(recipe(), Stream(recipe().config.seed, direction, "train"), 30 + k)
            key = sample_key(direction, "train", 30 + k)
            image, text, meta = (_read(archive, f"{key}.{kind}") for kind in ("jpg", "txt", "json"))
            assert [member.name for member in members[3 * k : 3 * k + 3]] == [
                f"{key}.{x}" for x in ("jpg", "txt", "json")
            ]
            assert image == bytes(encode_image(sample.pixels, "jpg", 90))
            assert text.decode() == sample.text
            assert json.loads(meta)["boxes"] == sample.boxes.tolist()
            assert members[3 * k].offset == columns["record"][:k].sum()
            assert [columns[name][k] for name in ("image", "width", "height", "label")] == [
                len(image),
                sample.pixels.shape[1],
                sample.pixels.shape[0],
                len(sample.text),
            ]


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def test_the_same_task_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        run_task(source(), task(), LocalStore(str(tmp_path / folder)))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_other_formats_and_no_json(tmp_path: Path, kind: str) -> None:
    sets = (f"image.format={kind}", "meta=none")
    run_task(source(*sets), task(5), LocalStore(str(tmp_path)))
    with tarfile.open(tmp_path / task().tar) as archive:
        names = archive.getnames()
        assert [name.split(".")[1] for name in names] == [kind, "txt"] * 5
        pixels = cv2.imdecode(np.frombuffer(_read(archive, names[0]), np.uint8), cv2.IMREAD_GRAYSCALE)
    sample = render(recipe(*sets), Stream(recipe(*sets).config.seed, "horizontal", "train"), 0)
    assert pixels is not None
    assert pixels.shape == sample.pixels.shape
    if kind == "png":
        assert (pixels == sample.pixels).all()


def test_an_image_that_cannot_be_written_says_so() -> None:
    with pytest.raises(ValueError, match="gif"):
        encode_image(np.zeros((4, 4), np.uint8), "gif", 90)
    with pytest.raises(ValueError, match="cannot be written as webp"):
        encode_image(np.zeros((4, 20_000), np.uint8), "webp", 90)


def test_stock_webdataset_reads_it(tmp_path: Path) -> None:
    run_task(source(), task(25), LocalStore(str(tmp_path)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own
        import webdataset

        data = webdataset.WebDataset(str(tmp_path / task().tar), shardshuffle=False).decode("l8")
        samples = list(data)
    assert [sample["__key__"] for sample in samples] == [sample_key("horizontal", "train", k) for k in range(25)]
    for index, sample in enumerate(samples):
        expected = render(recipe(), Stream(recipe().config.seed, "horizontal", "train"), index)
        assert sample["txt"] == expected.text
        assert sample["json"]["index"] == index
        assert sample["jpg"].shape == expected.pixels.shape


def test_the_reader_of_the_format_page_reads_it(tmp_path: Path) -> None:
    page = (ROOT / "shards" / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert code
    scope: dict[str, Any] = {}
    exec(code[1], scope)
    run_task(source(), task(12), LocalStore(str(tmp_path)))
    for index in (0, 5, 11):
        sample = render(recipe(), Stream(recipe().config.seed, "horizontal", "train"), index)
        image, text = scope["read"](str(tmp_path / "horizontal" / "train-000000"), index)
        assert text == sample.text
        assert image == bytes(encode_image(sample.pixels, "jpg", 90))


class Recording(LocalStore):
    """A store that notes what becomes visible, and fails where it is told to."""

    log: ClassVar[list[str]] = []
    fail: ClassVar[Callable[[str], bool]] = staticmethod(lambda step: False)

    def create(self, name: str) -> Any:
        draft, step = super().create(name), self._step
        write, seal, publish = draft.write, draft.seal, draft.publish
        draft.write = lambda data: (step("write " + name), write(data))[1]  # type: ignore[method-assign]
        draft.seal = lambda: (step("seal " + name), seal())[1]  # type: ignore[method-assign]
        draft.publish = lambda: (step("publish " + name), publish())[1]  # type: ignore[method-assign]
        return draft

    def remove(self, name: str) -> None:
        self._step("remove " + name)
        super().remove(name)

    def _step(self, step: str) -> None:
        if self.fail(step):
            raise OSError(errno.ENOSPC, "No space left on device")
        if step not in self.log:
            self.log.append(step)


def test_the_sidecar_goes_first_and_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recording, "log", [])
    run_task(source(), task(4), Recording(str(tmp_path)))
    shard, note = task().tar, task().sidecar
    assert Recording.log == [
        f"write {shard}",
        f"write {note}",
        f"seal {shard}",
        f"seal {note}",
        f"remove {note}",
        f"publish {shard}",
        f"publish {note}",
    ]


@pytest.mark.parametrize("step", ["write", "seal"])
@pytest.mark.parametrize("suffix", ["tar", "json"])
def test_a_failing_disk_leaves_the_old_shard(tmp_path: Path, monkeypatch: Any, step: str, suffix: str) -> None:
    run_task(source(), task(4), LocalStore(str(tmp_path)))
    before = contents(tmp_path)
    monkeypatch.setattr(Recording, "fail", staticmethod(lambda name: name.startswith(step) and name.endswith(suffix)))
    with pytest.raises(OSError, match="No space left"):
        run_task(source(), task(9), Recording(str(tmp_path)))
    assert contents(tmp_path) == before
    assert drafts(tmp_path) == []


def test_a_failure_while_publishing_leaves_no_false_sidecar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in ("publish horizontal/train-000000.tar", "publish horizontal/train-000000.json"):
        run_task(source(), task(4), LocalStore(str(tmp_path)))
        monkeypatch.setattr(Recording, "fail", staticmethod(lambda name, step=step: name == step))
        with pytest.raises(OSError, match="No space left"):
            run_task(source(), task(9), Recording(str(tmp_path)))
        assert task().sidecar not in contents(tmp_path)
        assert drafts(tmp_path) == []


def test_drafts_are_swept_only_for_the_names_given(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    folder = tmp_path / "horizontal"
    folder.mkdir()
    for name in (".train-000000.tar.123.tmp", ".train-000001.tar.9.tmp", ".train-000000.tar.tmp", ".mine.tmp"):
        (folder / name).touch()
    store.sweep({"horizontal/train-000000.tar", "vertical/train-000000.tar"})
    assert sorted(path.name for path in folder.iterdir()) == [
        ".mine.tmp",
        ".train-000000.tar.tmp",
        ".train-000001.tar.9.tmp",
    ]


def test_a_store_knows_missing_files(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "new" / "deep"))
    assert (store.read("a"), store.size("a"), store.names("b")) == (None, None, [])
    store.remove("a")
    store.prune("b")
    assert (store.free() or 0) > 0
    assert not (tmp_path / "new").exists()
    assert str(store) == str(tmp_path / "new" / "deep")
