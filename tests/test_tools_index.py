"""Tars made elsewhere, in any flavour, become a source; what is wrong in them is left out and told."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from shard_set import in_process, make_set

from gen.contract import COLUMNS, ELSEWHERE, MANIFEST, RAREST, Manifest, Sidecar
from tools import index, verify
from tools.index_scan import scan
from train.shards import BadShard, open_source

File = tuple[str, bytes]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks, and no processes."""
    in_process(monkeypatch, index, verify)
    monkeypatch.setattr(index, "scan", partial(scan, block_bytes=6000))


def image(width: int, height: int, suffix: str = ".jpg", colour: bool = False, seed: int = 0) -> bytes:
    rows = np.random.default_rng(seed).integers(0, 256, (height, 1, 3 if colour else 1), np.uint8)
    return cv2.imencode(suffix, np.repeat(rows, width, 1))[1].tobytes()


def archive(path: Path, files: Sequence[File], format: int = tarfile.GNU_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as out:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname = len(data), 1.5, "someone"
            if name.endswith("/"):
                info.type, info.size = tarfile.DIRTYPE, 0
            out.addfile(info, io.BytesIO(data))
    return path


def lines(first: int, count: int, folder: str = "") -> list[File]:
    """Samples as others write them: colours, several formats, a json of some kind, the label first or last."""
    files = []
    for k in range(first, first + count):
        suffix = (".jpg", ".png", ".jpeg", ".webp", ".JPG")[k % 5]
        members = [
            (f"{folder}line{k:04}{suffix}", image(60 + k, 20 + k % 7, suffix.lower(), bool(k % 2), k)),
            (f"{folder}line{k:04}.json", b'{"boxes": "none"}'),
            (f"{folder}line{k:04}.txt", f" 第 {k}\t行\r\n".encode()),
        ]
        files += members[:: -1 if k % 3 else 1]
    return files


def check(folder: Path, split: str, numbers: Sequence[int], keys: str = "") -> None:
    source = open_source(str(folder), split)
    for k, item in zip(numbers, source.read(range(len(source))), strict=True):
        assert (item.key, item.text, item.boxes) == (f"{keys}line{k:04}", f"第 {k} 行", None)
        assert item.pixels.shape == (20 + k % 7, 60 + k)
        assert item.pixels.ndim == 2
    assert source.lengths(np.arange(len(numbers))).tolist() == [len(f"第 {k} 行") for k in numbers]
    assert source.widths(np.arange(len(numbers))).tolist() == [(60 + k) * 32 // (20 + k % 7) for k in numbers]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_of_any_flavour_become_a_source(tmp_path: Path, format: int, capsys: pytest.CaptureFixture[str]) -> None:
    long = "d" * 90 + "/" + "e" * 60 + "/"
    archive(tmp_path / "a.tar", [("./", b""), *lines(0, 30)], format)
    archive(tmp_path / "b.tar", [(long, b""), *lines(30, 12, long)], format)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert index.main([str(tmp_path), "--val", "0.5"]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.tar")} == before
    out = capsys.readouterr()
    assert "Indexed 42 samples (30 train + 12 val) of horizontal lines in 2 tars" in out.out
    assert "charset has 12 characters; 0 were left out" in out.out
    assert out.err == ""
    check(tmp_path, "train", range(30))
    check(tmp_path, "val", range(30, 42), long)
    source = open_source(str(tmp_path), "train")
    assert source.charset.chars == "0123456789第行"
    assert len(source.blocks) > 3
    assert verify.main([str(tmp_path)]) == 0


def test_samples_are_those_of_webdataset(tmp_path: Path) -> None:
    files = [
        *lines(0, 4),
        ("__meta__/x.json", b"{}"),
        ("README", b"no suffix"),
        ("sub.dir/line0100.jpg", image(60, 20)),
        ("sub.dir/line0100.txt", b"1"),
        ("line0101.extra.jpg", b"2"),
        ("line0101.txt", b"1"),
        ("line0101.jpg", image(60, 20)),
    ]
    archive(tmp_path / "train-0.tar", files)
    assert index.main([str(tmp_path)]) == 0
    source = open_source(str(tmp_path), "train")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import webdataset as wds

        stock = list(wds.WebDataset(str(tmp_path / "train-0.tar"), shardshuffle=False))
    assert [item.key for item in source.read(range(len(source)))] == [sample["__key__"] for sample in stock]
    assert stock[-1]["txt"] == b"1"


def test_what_cannot_be_used_is_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = lines(0, 12)
    bad: list[File] = [
        ("lone.jpg", image(60, 20)),
        ("text.txt", b"1"),
        ("broken.jpg", image(60, 20)[:-30]),
        ("broken.txt", b"1"),
        ("empty.jpg", image(60, 20)),
        ("empty.txt", b" \n"),
        ("latin.jpg", image(60, 20)),
        ("latin.txt", "é".encode("latin-1")),
        ("twice.jpg", image(60, 20)),
        ("twice.jpg", image(60, 20)),
        ("twice.txt", b"1"),
        ("other.jpg", image(60, 20)),
        ("other.txt", b"Z"),
    ]
    archive(tmp_path / "train.tar", [*bad[:4], *good[:18], *bad[4:], *good[18:], *bad[-2:]])
    whole = archive(tmp_path / "val.tar", lines(50, 5)).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:4000])
    (tmp_path / "packed.tar").write_bytes(gzip.compress(whole))
    charset = tmp_path / "charset.txt"
    charset.write_text("\n".join("0123456789第行"), encoding="utf-8")
    report = tmp_path / "report.tsv"
    assert index.main([str(tmp_path), "--charset", str(charset), "--report", str(report)]) == 0
    out = capsys.readouterr()
    assert "Indexed 17 samples (12 train + 5 val)" in out.out
    for words in (
        "1 left out, no txt: train.tar/lone",
        "1 left out, no image: train.tar/text",
        "1 left out, the image cannot be decoded: train.tar/broken",
        "1 left out, an empty label: train.tar/empty",
        "1 left out, the label is not UTF-8: train.tar/latin",
        "1 left out, two members of the same kind: train.tar/twice",
        "2 left out, characters outside the charset: train.tar/other, train.tar/other",
        "cut.tar",
        "packed.tar",
    ):
        assert words in out.err
    assert len(report.read_text(encoding="utf-8").splitlines()) == 10
    check(tmp_path, "train", range(12))
    check(tmp_path, "val", range(50, 55))
    assert verify.main([str(tmp_path)]) == 0


def test_sidecars_say_how_rare_the_rarest_character_is(tmp_path: Path) -> None:
    archive(tmp_path / "a.tar", lines(0, 14))
    archive(tmp_path / "b.tar", lines(14, 9))
    archive(tmp_path / "val.tar", lines(23, 5))
    assert index.main([str(tmp_path)]) == 0
    for split, count in (("train", 23), ("val", 5)):
        source = open_source(str(tmp_path), split)
        texts = [item.text.replace(" ", "") for item in source.read(range(count))]
        whole = "".join(texts)
        expected = [min(map(whole.count, text)) for text in texts]
        found = source.rarest(np.arange(count))
        assert found is not None
        assert found.tolist() == expected
        assert split == "val" or len(set(expected)) > 3
        if split == "train":
            rest = open_source(str(tmp_path), split, exclude={(source.name, "a")}).rarest(np.arange(9))
            assert rest is not None
            assert rest.tolist() == expected[14:]
    samples = Sidecar.parse((tmp_path / "a.json").read_bytes()).samples
    assert samples["columns"] == [*map(list, COLUMNS), list(RAREST)]


def test_damage_after_indexing_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = archive(tmp_path / "a.tar", lines(0, 20))
    assert index.main([str(tmp_path)]) == 0
    assert "None is for validation" in capsys.readouterr().out
    data = bytearray(path.read_bytes())
    data[1500] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadShard, match="shard a of"):
        open_source(str(tmp_path), "train").read([0])
    assert verify.main([str(tmp_path)]) == 1
    out = capsys.readouterr()
    assert "sha256" in out.err
    assert "mend the tars, then python -m tools.index" in out.out


def test_directions_are_guessed_or_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tall = [(f"t{k}.{kind}", data) for k in range(6) for kind, data in (("png", image(20, 90, ".png")), ("txt", b"1"))]
    archive(tmp_path / "a.tar", tall)
    archive(tmp_path / "b.tar", lines(0, 3))
    assert index.main([str(tmp_path), "--val", "0"]) == 0
    assert "of vertical lines" in (out := capsys.readouterr().out)
    assert "3 images are not higher than wide" in out
    source = open_source(str(tmp_path), "train")
    assert (source.direction, source.widths(np.array([0])).tolist()) == ("vertical", [90 * 32 // 20])
    assert index.main([str(tmp_path), "--direction", "horizontal", "--charset", "packaged"]) == 0
    assert "6 images are higher than wide" in capsys.readouterr().out
    assert len(open_source(str(tmp_path), "train").charset) == 30_656


def test_indexing_again_gives_the_same_and_another_set_another_identity(tmp_path: Path) -> None:
    archive(tmp_path / "a.tar", lines(0, 5))
    assert index.main([str(tmp_path)]) == 0
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == {"a.tar", "a.json", MANIFEST}
    assert index.main([str(tmp_path)]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    archive(tmp_path / "b.tar", lines(5, 5))
    assert index.main([str(tmp_path)]) == 0
    manifests = [Manifest.parse(data) for data in (first[MANIFEST], (tmp_path / MANIFEST).read_bytes())]
    assert manifests[0].identity != manifests[1].identity
    assert {manifest.image for manifest in manifests} == {ELSEWHERE}
    assert Sidecar.parse((tmp_path / "b.json").read_bytes()).split == "val"


@pytest.mark.parametrize(
    ("prepare", "arguments", "words"),
    [
        (lambda folder: folder.rmdir(), [], "is not a directory"),
        (lambda folder: None, [], "holds no .tar file"),
        (lambda folder: (folder / "a.tar.gz").touch(), [], "a.tar.gz is compressed"),
        (lambda folder: archive(folder / "a.tar", []), [], "no sample of 1 tars"),
        (lambda folder: archive(folder / "a.tar", lines(0, 1)), ["--val", "1"], "--val 1.0"),
        (lambda folder: archive(folder / "val.tar", lines(0, 1)), [], "every tar has a name"),
        (lambda folder: archive(folder / "manifest.tar", lines(0, 1)), [], "another name"),
        (lambda folder: (archive(folder / "a.tar", lines(0, 1)), (folder / "a.json").touch()), [], "a.json would be"),
        (lambda folder: archive(folder / "a.tar", lines(0, 1)), ["--charset", "none.txt"], "cannot read the charset"),
        (lambda folder: archive(folder / "a.tar", lines(0, 1)), ["--report", "no/where"], "--report"),
    ],
)
def test_mistakes_are_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prepare: object, arguments: list[str], words: str
) -> None:
    folder = tmp_path / "tars"
    folder.mkdir()
    prepare(folder)  # type: ignore[operator]
    assert index.main([str(folder), *arguments]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("python -m tools.index: ")
    assert words in message
    assert not (folder / MANIFEST).exists()


def test_generated_shards_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = make_set(tmp_path, {"train": 5, "val": 5})
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    assert index.main([str(place)]) == 2
    assert "generated shards, which need no index" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_the_command_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # with a process of its own
    archive(tmp_path / "a.tar", lines(0, 3))
    assert index.main([str(tmp_path), "--workers", "1"]) == 0
    check(tmp_path, "train", range(3))
    assert json.loads((tmp_path / MANIFEST).read_text(encoding="utf-8"))["splits"]["train"]["samples"] == 3
