"""``tools.verify`` finds every kind of damage, and names the shard."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_set import CHARS, Inline, flags, task

from gen import cli
from gen.contract import Sidecar, pack_columns, sample_key
from gen.shard import ShardBuilder
from tools import verify
from tools.verify_sample import check_sample

SHARD = "horizontal/train-000001"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    with pytest.MonkeyPatch().context() as patch:
        patch.setattr(cli, "LocalEngine", Inline)
        assert cli.main(["--out", str(folder / "out"), *flags(folder), "--n", "140"]) == 0
    return folder / "out"


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check in this process: starting others is slow."""

    class Pool:
        def __init__(self, workers: int, context: object, prepare: Callable[..., None], values: tuple[str]) -> None:
            monkeypatch.setattr(verify, "as_worker", lambda: None)
            prepare(*values)

        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def submit(self, function: Callable[[verify.Shard], list[str]], shard: verify.Shard) -> object:
            from concurrent.futures import Future

            future: Future[list[str]] = Future()
            future.set_result(function(shard))
            return future

    monkeypatch.setattr(verify, "ProcessPoolExecutor", Pool)


def change(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert data.count(old) >= 1
    path.write_bytes(data.replace(old, new, 1))


def test_a_good_set_passes(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([str(whole), "--workers", "2"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "Checked 540 images in 12 shards" in captured.out
    assert "all is well" in captured.out


def test_a_direction_alone_passes(out: Path, tmp_path: Path, here: None) -> None:
    assert verify.main([str(out / "vertical")]) == 0
    shutil.copytree(out / "vertical", tmp_path / "elsewhere")
    assert verify.main([str(tmp_path / "elsewhere")]) == 0


def flip(position: int) -> Callable[[Path], None]:
    def damage(out: Path) -> None:
        path = out / f"{SHARD}.tar"
        data = bytearray(path.read_bytes())
        data[position] ^= 1
        path.write_bytes(data)

    return damage


def cut(out: Path) -> None:
    path = out / f"{SHARD}.tar"
    path.write_bytes(path.read_bytes()[: -10240 * 3])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip(0), "header of ht000000000050.jpg"),
        (flip(700), "block 0"),
        (flip(-1), "end of the archive"),
        (cut, "bytes, by the manifest"),
        (lambda out: (out / f"{SHARD}.tar").unlink(), "the tar is not there"),
        (lambda out: (out / f"{SHARD}.json").unlink(), "the sidecar is not there"),
        (lambda out: (out / f"{SHARD}.json").write_text("{}"), "not of format 1"),
        (
            lambda out: change(out / f"{SHARD}.json", b'"start":50', b'"start":51'),
            "start is 51, by the manifest it is 50",
        ),
        (lambda out: change(out / f"{SHARD}.json", b'"image":"jpg"', b'"image":"png"'), "image is png"),
        (lambda out: change(out / f"{SHARD}.json", b'"data":"', b'"data":"A'), "cannot be unpacked"),
        (lambda out: shutil.copy(out / "horizontal/train-000000.tar", out / f"{SHARD}.tar"), "another sha256"),
    ],
)
def test_a_bad_shard_is_named_with_the_reason(
    out: Path, here: None, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], reason: str
) -> None:
    damage(out)
    assert verify.main([str(out)]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"BAD {SHARD}: ")
    assert captured.err.count("\n") == 1
    assert reason in captured.err
    assert "1 bad shards" in captured.out


def edit_manifest(key: Callable[[dict[str, object]], None]) -> Callable[[Path], None]:
    def damage(out: Path) -> None:
        path = out / "horizontal" / "manifest.json"
        values = json.loads(path.read_bytes())
        key(values)
        path.write_text(json.dumps(values), encoding="utf-8")

    return damage


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda out: (out / "horizontal/manifest.json").unlink(), "no manifest.json"),
        (lambda out: (out / "horizontal/manifest.json").write_text("x"), "not JSON"),
        (edit_manifest(lambda values: values["splits"]["train"].update(samples=71)), "sums of train"),  # type: ignore
        (edit_manifest(lambda values: values["recipe"].update(new=1)), "not that of the recipe"),  # type: ignore
        (edit_manifest(lambda values: values["charset"].update(sha256="0")), "another sha256"),  # type: ignore
        (lambda out: shutil.copy(out / f"{SHARD}.tar", out / "horizontal/train-000009.tar"), "train-000009.tar"),
        (lambda out: change(out / "recipe.json", b'"train": 70', b'"train": 80'), "recipe.json is for"),
        (lambda out: change(out / "recipe.json", b'"seed": 1', b'"seed": 2'), "recipe.json cannot be used"),
    ],
)
def test_a_wrong_set_is_told(
    out: Path, here: None, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], reason: str
) -> None:
    damage(out)
    assert verify.main([str(out)]) == 1
    captured = capsys.readouterr()
    assert "BAD " in captured.err
    assert reason in captured.err


def test_what_is_no_set_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place, part in ((tmp_path, "holds no shards"), (tmp_path / "none", "not a directory")):
        assert verify.main([str(place)]) == 2
        assert part in capsys.readouterr().err


def sample(
    pixels: tuple[int, int] = (32, 64),
    label: str = "一二",
    suffixes: tuple[str, ...] = (".jpg", ".txt", ".json"),
    **meta: object,
) -> tuple[bytes, Sidecar, dict[str, int]]:
    """A made-up sample with its sidecar, whose sums are all right, whatever is in it."""
    image = bytes(cv2.imencode(".jpg", np.zeros(pixels, np.uint8))[1])
    values = {"index": 0, "direction": "horizontal", "boxes": [[1, 1, 5, 5]] * len(label), **meta}
    members = (image, label.encode(), json.dumps(values).encode())
    file = io.BytesIO()
    builder = ShardBuilder(file.write, suffixes)
    key = sample_key("horizontal", "train", 0).encode()
    builder.add(key, members[: len(suffixes)], 64, 32, len(label))
    sidecar = builder.finish(task(1), "jpg")
    row = {name: int(column[0]) for name, column in sidecar.columns().items()}
    return file.getvalue()[: row["record"]], sidecar, row


def check(made: tuple[bytes, Sidecar, dict[str, int]]) -> None:
    record, sidecar, row = made
    check_sample(record, sample_key("horizontal", "train", 0), 0, sidecar, row, frozenset(CHARS))


def test_good_samples_pass() -> None:
    check(sample())
    check(sample(suffixes=(".jpg", ".txt")))
    check(sample(label="一 二", boxes=[[0, 0, 1, 1], [5, 5, 0, 0], [60, 30, 4, 2]]))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"label": "一丁"}, "outside the charset"),
        ({"label": "一  二"}, "outside the charset"),
        ({"label": " 一"}, "outside the charset"),
        ({"label": ""}, "0 characters"),
        ({"pixels": (32, 65)}, "65x32, by the sidecar 64x32"),
        ({"suffixes": (".jpg", ".json", ".txt")}, "header of ht000000000000.txt"),
        ({"suffixes": (".png", ".txt")}, "header of ht000000000000.jpg"),
        ({"index": 1}, "another sample"),
        ({"direction": "vertical"}, "another sample"),
        ({"boxes": [[1, 1, 5, 5]]}, "a box for each of its 2"),
        ({"boxes": [[1, 1, 5, 5], [60, 1, 5, 5]]}, "not inside"),
        ({"boxes": [[1, 1, 5, 5], [-1, 1, 5, 5]]}, "not inside"),
        ({"boxes": [[1, 1, 5, 5], [1, 1, 0, 5]]}, "not inside"),
        ({"boxes": [[1, 1, 5, 5], [1, 1, 5.0, 5]]}, "not four whole numbers"),
    ],
)
def test_bad_samples_are_told(values: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check(sample(**values))  # type: ignore[arg-type]


def test_an_image_that_does_not_decode_is_told() -> None:
    record, sidecar, row = sample()
    broken = record[:512] + b"\xff\xd8\xff" + bytes(row["image"] - 3) + record[512 + row["image"] :]
    with pytest.raises(ValueError, match="not a jpg that decodes"):
        check((broken, sidecar, row))
    record, sidecar, row = sample(suffixes=(".png", ".txt"))
    with pytest.raises(ValueError, match="not a png that decodes"):
        check((record, replace(sidecar, image="png"), row))


def test_columns_that_do_not_fit_the_blocks_are_told(out: Path, here: None, capsys: pytest.CaptureFixture[str]) -> None:
    path = out / f"{SHARD}.json"
    sidecar = Sidecar.parse(path.read_bytes())
    columns = [column.tolist() for column in sidecar.columns().values()]
    columns[0][3] += 512
    text = replace(sidecar, samples=pack_columns(columns)).to_json()
    manifest = out / "horizontal" / "manifest.json"
    change(manifest, hashlib.sha256(path.read_bytes()).hexdigest().encode(), hashlib.sha256(text).hexdigest().encode())
    path.write_bytes(text)
    assert verify.main([str(out)]) == 1
    assert f"BAD {SHARD}: block 0 does not have the bytes of its samples" in capsys.readouterr().err
