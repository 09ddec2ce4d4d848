"""Labelled images become shards of the contract, and every line that cannot is told."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from shard_set import CHARS, in_process, make_set
from small_set import contents, drafts

from tools import import_lines, verify
from train.shards import open_source, open_sources


def write(path: Path, width: int, height: int, channels: int = 1, seed: int = 0, dtype: type = np.uint8) -> np.ndarray:  # type: ignore[type-arg]
    """An image file; what is in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.random.default_rng(seed).integers(0, 256, (height, 1, channels)).astype(dtype)
    pixels = np.repeat(rows, width, 1)
    pixels = pixels[:, :, 0] if channels == 1 else pixels
    assert cv2.imwrite(str(path), pixels * (257 if dtype is np.uint16 else 1))
    return pixels


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    in_process(monkeypatch, verify)


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """60 lines, every third vertical, as JPEG, PNG and WebP, grey and in colour."""
    rows = []
    for k in range(60):
        name = f"part {k % 2}/图{k:02}.{('jpg', 'png', 'webp', 'jpg')[k % 4]}"
        size = (20 + k % 5, 90 + k) if k % 3 == 0 else (90 + k, 20 + k % 5)
        write(tmp_path / "images" / name, *size, channels=3 if k % 4 == 3 else 1, seed=k)
        rows.append(f'{name}\t  {CHARS.chars[k % 10]}\u3000 "天\\n"\t{k:02}  ')
    (tmp_path / "charset.txt").write_text("\n".join(CHARS.chars + '2345678"\\n'), encoding="utf-8")
    (tmp_path / "labels.tsv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(["", *rows, ""]).encode())
    return tmp_path


def run(folder: Path, *more: str, out: str = "out") -> int:
    files = ["--labels", str(folder / "labels.tsv"), "--images", str(folder / "images")]
    return import_lines.main([*files, "--out", str(folder / out), "--charset", str(folder / "charset.txt"), *more])


def text(k: int) -> str:
    """The text of line ``k``: no quotes, no escapes, and white space is a space."""
    return f'{CHARS.chars[k % 10]} "天\\n" {k:02}'


def test_lines_become_shards(given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(given, "--val", "0.1", "--shard-size", "16") == 0
    out = capsys.readouterr()
    assert "60 lines (horizontal 36 train + 4 val; vertical 18 train + 2 val); 0 were left out" in out.out
    assert out.err == ""
    assert verify.main([str(given / "out")]) == 0
    seen = []
    for split in ("train", "val"):
        for source in open_sources(str(given / "out"), split):
            for item in source.read(range(len(source))):
                k = int(item.text[-2:])
                seen.append(k)
                assert item.text == text(k)
                assert source.direction == ("vertical" if k % 3 == 0 else "horizontal")
                path = next((given / "images").glob(f"*/图{k:02}.*"))
                stored = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
                assert stored is not None
                assert item.pixels.shape == stored.shape
                assert np.abs(item.pixels.astype(int) - stored).max() <= (0 if k % 4 == 0 else 12)
    assert sorted(seen) == list(range(60))
    assert seen[:36] != sorted(seen[:36])


def test_sidecars_say_how_rare_the_rarest_character_is(given: Path) -> None:
    """Of each direction and split by itself."""
    assert run(given, "--val", "0.1", "--shard-size", "16") == 0
    for source in (*open_sources(str(given / "out"), "train"), *open_sources(str(given / "out"), "val")):
        texts = [item.text.replace(" ", "") for item in source.read(range(len(source)))]
        whole = "".join(texts)
        found = source.rarest(np.arange(len(source)))
        assert found is not None
        assert found.tolist() == [min(map(whole.count, text)) for text in texts]


def test_stock_webdataset_reads_them(given: Path) -> None:
    assert run(given) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import webdataset as wds

        tars = sorted(str(path) for path in (given / "out").glob("*/*.tar"))
        stock = list(wds.WebDataset(tars, shardshuffle=False).decode("l8"))
    assert sorted(sample["txt"] for sample in stock) == sorted(text(k) for k in range(60))
    ours = open_source(str(given / "out" / "horizontal"), "train")
    of = {sample["__key__"]: sample for sample in stock}
    for item in ours.read(range(len(ours))):
        assert of[item.key]["txt"] == item.text
        assert of[item.key]["jpg"].shape == item.pixels.shape


def test_grey_jpegs_are_kept_to_the_byte(given: Path) -> None:
    assert run(given, "--val", "0") == 0
    held = b"".join(data for name, data in contents(given / "out").items() if name.endswith(".tar"))
    kept = [path.read_bytes() in held for path in sorted((given / "images").glob("*/*.jpg"))]
    grey = [int(path.stem[1:]) % 4 == 0 for path in sorted((given / "images").glob("*/*.jpg"))]
    assert kept == grey


def test_equal_input_gives_equal_bytes_and_goes_on(given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(given, "--shard-size", "8") == 0
    first = contents(given / "out")
    assert run(given, "--shard-size", "8", out="again") == 0
    assert contents(given / "again") == first
    for name in ("horizontal/manifest.json", "horizontal/train-000001.json", "vertical/train-000000.tar"):
        (given / "again" / name).unlink()
    assert run(given, "--shard-size", "8", out="again") == 0
    assert contents(given / "again") == first
    assert run(given, "--shard-size", "8", "--seed", "1") == 2
    assert "another recipe: seed is 0 there and 1 here; give another --out, or --overwrite" in capsys.readouterr().err
    assert contents(given / "out") == first
    assert run(given, "--shard-size", "8", "--seed", "1", "--overwrite") == 0
    assert contents(given / "out").keys() == first.keys()
    assert contents(given / "out") != first


def test_generated_sets_are_not_replaced(given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_set(given / "out", {"train": 3})
    before = contents(given / "out")
    assert run(given) == 2
    assert "made by another recipe" in capsys.readouterr().err
    assert contents(given / "out") == before


def test_what_cannot_be_used_is_told(given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = given / "images"
    (images / "broken.jpg").write_bytes((images / "part 0/图00.jpg").read_bytes()[:-40])
    (images / "empty.png").touch()
    with (given / "labels.tsv").open("ab") as file:
        for name, label in (
            ("broken.jpg", "天"),
            ("empty.png", "天"),
            ("missing.jpg", "天"),
            ("part 0", "天"),
            ("nul\0.jpg", "天"),
            ("part 0/图00.jpg", "天地玄"),
            ("part 0/图02.webp", " \u3000"),
        ):
            file.write(f"{name}\t{label}\n".encode())
        file.write(b"no tab here\n")
    report = given / "report.tsv"
    assert run(given, "--report", str(report)) == 0
    out = capsys.readouterr()
    assert "60 lines" in out.out
    assert "8 were left out" in out.out
    for words in (
        "2 left out, not an image that can be read: broken.jpg, empty.png",
        "3 left out, no such file, or not readable: missing.jpg, part 0, nul",
        "1 left out, characters outside the charset: part 0/图00.jpg (地玄)",
        "1 left out, no text: part 0/图02.webp",
        "1 left out, no tab: line 69",
    ):
        assert words in out.err
    assert len(report.read_text(encoding="utf-8").splitlines()) == 8


def test_images_of_every_kind_become_grey(tmp_path: Path) -> None:
    images = tmp_path / "images"
    grey = write(images / "deep.png", 90, 20, dtype=np.uint16)
    write(images / "glass.png", 90, 20, channels=4)
    whole = cv2.imread(str(images / "glass.png"), cv2.IMREAD_UNCHANGED)
    assert whole is not None
    whole[:, :, :3] = 0
    whole[:, :, 3] = np.repeat(np.arange(20, dtype=np.uint8)[:, None] * 13, 90, 1)
    cv2.imwrite(str(images / "glass.png"), whole)
    exif = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    write(images / "turned.jpg", 90, 20)
    data = (images / "turned.jpg").read_bytes()
    (images / "turned.jpg").write_bytes(data[:2] + exif + data[2:])
    (tmp_path / "labels.tsv").write_text("deep.png\t一\nglass.png\t二\nturned.jpg\t三\n", encoding="utf-8")
    (tmp_path / "charset.txt").write_text("一\n二\n三\n", encoding="utf-8")
    assert run(tmp_path, "--val", "0") == 0
    assert verify.main([str(tmp_path / "out")]) == 0
    found = {
        item.text: item.pixels.astype(int)
        for source in open_sources(str(tmp_path / "out"), "train")
        for item in source.read(range(len(source)))
    }
    assert np.abs(found["一"] - grey).max() < 4
    assert np.abs(found["二"] - (255 - whole[:, :, 3].astype(int))).max() < 4  # black ink on white paper
    assert found["三"].shape == (90, 20)  # as its camera held it


def test_a_direction_can_be_forced(given: Path) -> None:
    assert run(given, "--direction", "vertical") == 0
    assert not (given / "out" / "horizontal").exists()
    assert len(open_source(str(given / "out" / "vertical"), "train")) == 57


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--val", "1"], "--val 1.0: give a share"),
        (["--seed", "-1"], "--seed -1"),
        (["--shard-size", "0"], "--shard-size 0"),
        (["--images", "nowhere"], "--images nowhere is not a directory"),
        (["--labels", "nowhere.tsv"], "--labels nowhere.tsv cannot be read"),
        (["--charset", "nowhere.txt"], "cannot read the charset"),
        (["--report", "no/where"], "--report no/where cannot be written"),
        (["--out", "https://bucket/set"], "nothing can be written there"),
    ],
)
def test_mistakes_are_told_in_a_line(
    given: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run(given, *arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("python -m tools.import_lines: ")
    assert message.count("\n") == 1
    assert words in message
    assert not (given / "out" / "recipe.json").exists()


def test_labels_without_a_usable_line_are_refused(given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (given / "labels.tsv").write_bytes("图\t天\n".encode() + b"\xff\t1\n")
    assert run(given) == 2
    assert "line 2 is not UTF-8" in capsys.readouterr().err
    (given / "labels.tsv").write_text("missing\t天\n", encoding="utf-8")
    assert run(given) == 2
    assert "none of its lines can be used" in capsys.readouterr().err


def test_nothing_is_half_done_when_an_image_changes_meanwhile(
    given: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = import_lines._usable

    def usable(*arguments: object) -> list[import_lines.Line]:
        found = list(kept(*arguments))  # type: ignore[arg-type]
        write(found[7].path, 50, 20)
        return found

    monkeypatch.setattr(import_lines, "_usable", usable)
    assert run(given, "--shard-size", "4", "--val", "0") == 2
    assert "has changed meanwhile" in capsys.readouterr().err
    assert not list((given / "out").glob("*/manifest.json"))
    assert drafts(given / "out") == []
    names = sorted(path.stem for path in (given / "out").glob("*/*.*"))
    assert all(len(list(group)) == 2 for _, group in itertools.groupby(names)) or names == []
