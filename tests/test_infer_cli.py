"""The command line of the reader: what it reads, what it tells, and what it does not take."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from infer_command import ALL, COUNT, Done, inside, make_files, names_in, texts
from PIL import Image

from gen.sample import Recipe
from infer import Reading, Recognizer, cli, recognizer
from tests.conftest import small_charset
from train.crnn import Crnn

torch.set_num_threads(1)
Run = Callable[..., Done]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, small: Callable[..., Recipe]) -> Path:
    return make_files(tmp_path_factory.getbasetemp(), small)


@pytest.fixture
def run(capsysbinary: pytest.CaptureFixture[bytes], files: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command in the folder of the files, without packaged weights."""
    monkeypatch.chdir(files)
    monkeypatch.setattr(recognizer, "PACKAGED", files / "none.onnx")
    return inside(capsysbinary)


def test_the_commands_of_the_older_demo(run: Run, files: Path) -> None:
    for flags, names in (
        (["--image-path", "scans/vertical/2.png"], ["scans/vertical/2.png"]),
        (["--image-dir", "scans/horizontal"], names_in("horizontal")),
        (["--image-dir", "scans/horizontal", "--direction", "horizontal"], names_in("horizontal")),
    ):
        done = run("--weight-path", "w.onnx", *flags)
        assert done.code == 0
        expected = [f"image_path:{name},label:{text}" for name, text in zip(names, texts(files, *names))]
        assert done.out.decode() == "".join(f"{line}\n" for line in expected)
        assert len(done.err) == 1
        assert f"read {len(names)} image" in done.err[0]
        assert done.err[0].endswith("images/s")


def test_a_folder_of_both_directions(run: Run, files: Path) -> None:
    done = run("--weight-path", "w.onnx", "scans", "--format", "csv")
    assert done.out.decode().splitlines()[0] == "path,text,direction,score,min_score"
    ways = [line.split(",")[-3] for line in done.out.decode().splitlines()[1:]]
    assert ways == ["horizontal"] * COUNT + ["vertical"] * COUNT
    assert run("--weight-path", "w.onnx", "scans", "--format", "txt").out.decode().splitlines() == texts(files, *ALL)


def test_the_direction_may_be_told(run: Run, files: Path) -> None:
    names = names_in("horizontal")
    done = run("--weight-path", "w.onnx", "--direction", "vertical", "--format", "txt", *names)
    assert done.out.decode().splitlines() == texts(files, *names, direction="vertical") != texts(files, *names)


def test_the_other_direction_is_read_by_the_packaged_weights(
    run: Run, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (recognizer, cli):
        monkeypatch.setattr(module, "PACKAGED", files / "w.onnx")
    done = run("--weight-path", "h.pt", "--image-dir", "scans", "--format", "txt")
    assert done.code == 0
    assert done.out.decode().splitlines()[COUNT:] == texts(files, *names_in("vertical"))
    assert done.err[0].endswith(f"; {COUNT} images with vertical text read with the packaged weights")
    assert "packaged" not in run("--weight-path", "h.pt", "--image-dir", "scans/horizontal").err[0]
    done = run("--image-dir", "scans", "--format", "txt")
    assert done.out.decode().splitlines() == texts(files, *ALL)
    assert "packaged" not in done.err[0]  # none others were named


def test_without_weights_for_a_direction_only_its_lines_fail(run: Run, files: Path) -> None:
    done = run("--weight-path", "h.pt", "--image-dir", "scans", "--format", "jsonl")
    assert done.code == 1
    assert [("text" in json.loads(line), "error" in json.loads(line)) for line in done.out.splitlines()] == [
        (True, False)
    ] * COUNT + [(False, True)] * COUNT
    assert len(done.err) == COUNT + 1
    assert "seems to be a vertical line; no weights" in done.err[0]
    assert f"read {COUNT} images" in done.err[-1]
    assert done.err[-1].endswith(f"; {COUNT} failed")
    done = run("--weight-path", "h.pt", "--direction", "vertical", "scans/vertical")
    assert (done.code, done.out) == (2, b"")
    assert "h.pt reads horizontal lines, not vertical ones" in done.err[0]


def test_weights_for_each_direction(run: Run, files: Path) -> None:
    done = run("-l", "w.onnx", "-v", "w.onnx", "scans", "--format", "txt")
    assert done.out.decode().splitlines() == texts(files, *ALL)


def test_checkpoints_of_the_older_project(run: Run, files: Path, tmp_path: Path) -> None:
    charset = tmp_path / "all_words.txt"
    charset.write_text("\n".join(small_charset().chars) + "\n", encoding="utf-8")
    torch.manual_seed(5)
    net = Crnn(len(small_charset()), "horizontal")
    torch.save({"model": net.state_dict(), "epoch": 1, "args": argparse.Namespace(lr=1)}, tmp_path / "old.pth")
    flags = ["--weight-path", tmp_path / "old.pth", "--image-path", ALL[0]]
    done = run(*flags, "--charset", charset, "--direction", "horizontal")
    net_alone = Recognizer.load(horizontal=tmp_path / "old.pth", charset=small_charset())
    (reading,) = net_alone.read([files / ALL[0]], "horizontal")
    assert done.out.decode() == f"image_path:{ALL[0]},label:{reading.text}\n"
    assert reading.text
    assert "--charset" in run(*flags, "--direction", "horizontal").err[0]
    assert "give --direction" in run(*flags, "--charset", charset).err[0]


def test_images_from_everywhere_in_their_order(run: Run, files: Path, tmp_path: Path) -> None:
    """Those named first, then folders, then lists; between the flags, too; twice what is named twice."""
    listed = tmp_path / "list.txt"
    listed.write_text("scans/vertical/5.png\nscans/vertical/1.png\n", encoding="utf-8")
    done = run(
        "scans/horizontal/2.png", "--format", "demo", "scans/horizontal/[45].png", "--list", listed, "--image-dir", "scans/vertical",
        "--weight-path", "w.onnx", "scans/horizontal/2.png", "--image-path", "scans/horizontal/1.png",
    )  # fmt: skip
    found = [line.split(",")[0].removeprefix("image_path:scans/") for line in done.out.decode().splitlines()]
    first = ["horizontal/2.png", "horizontal/4.png", "horizontal/5.png", "horizontal/2.png", "horizontal/1.png"]
    assert found == [*first, *(f"vertical/{n}.png" for n in range(1, 6)), "vertical/5.png", "vertical/1.png"]
    assert done.code == 0


def test_names_that_start_with_a_dash(run: Run, tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-x.png").write_bytes((files / ALL[0]).read_bytes())
    for flags in (["--", "-x.png"], ["--image-path=-x.png"], ["./-x.png"], ["--format", "demo", "--", "-x.png"]):
        done = run("--weight-path", files / "w.onnx", *flags)
        assert done.code == 0, done.err
        assert done.out.decode().endswith(f"-x.png,label:{texts(files, ALL[0])[0]}\n")


def test_batches_and_threads_change_nothing(run: Run) -> None:
    expected = run("--weight-path", "w.onnx", "scans").out
    for flags in (["--batch-size", "1", "--workers", "3"], ["--batch-size", "7", "--workers", "1"]):
        assert run("--weight-path", "w.onnx", "scans", *flags).out == expected


def test_only_some_characters(run: Run) -> None:
    done = run("--weight-path", "w.onnx", "scans", "--format", "txt", "--allow", "天地人")
    assert set(done.out.decode()) <= set("天地人\n")
    assert set(done.out.decode()) & set("天地人")


def bad_files(folder: Path) -> list[str]:
    folder.mkdir()
    (folder / "1.png").write_bytes(b"")
    (folder / "2.png").write_text("no image", encoding="utf-8")
    good = Path("scans/horizontal/1.png").read_bytes()
    (folder / "3.png").write_bytes(good)
    (folder / "4.png").write_bytes(good[: len(good) // 2])
    Image.fromarray(np.zeros((3, 50), np.uint8)).save(folder / "5.png")
    (folder / "6.png").symlink_to("nowhere")
    return ["0 bytes", "no image of a known format", "cut off", "50x3 px", "No such file"]


def test_files_that_cannot_be_read_are_told_and_counted(run: Run, tmp_path: Path) -> None:
    words = bad_files(tmp_path / "bad")
    for style, records in (("demo", 1), ("txt", 6), ("jsonl", 6), ("csv", 2), ("tsv", 2)):
        done = run("--weight-path", "w.onnx", tmp_path / "bad", "--format", style)
        assert done.code == 1
        assert done.out.count(b"\n") == records
        assert len(done.err) == 6
        assert all(word in line for word, line in zip(words, done.err))
        assert done.err[-1].endswith("; 5 failed")
        assert "read 1 image in" in done.err[-1]
        if style == "txt":
            assert [bool(line) for line in done.out.splitlines()] == [False, False, True, False, False, False]
        if style == "jsonl":
            found = [json.loads(line) for line in done.out.splitlines()]
            assert [each["path"] for each in found] == [str(tmp_path / "bad" / f"{n}.png") for n in range(1, 7)]
            assert ["error" in each for each in found] == [True, True, False, True, True, True]
            assert all(word in each["error"] for word, each in zip(words, (each for each in found if "error" in each)))


def test_a_name_of_several_lines_is_told_on_one(run: Run, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/a\nb\xff.png"
    Path(os.fsdecode(path)).touch()
    done = run("--weight-path", "w.onnx", tmp_path)
    assert len(done.err) == 2
    assert done.err[0].endswith(r"/a\nb\udcff.png: is empty, 0 bytes")


def test_what_holds_no_image(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run("--weight-path", "w.onnx", tmp_path / "empty", "scans/*.gif")
    assert (done.code, done.out) == (2, b"")
    assert len(done.err) == 1
    assert f"{tmp_path / 'empty'} holds no image" in done.err[0]
    assert "scans/*.gif matches nothing" in done.err[0]
    done = run("--weight-path", "w.onnx", tmp_path / "empty", "scans/vertical")
    assert done.code == 1
    assert done.out.count(b"\n") == COUNT
    assert "holds no image" in done.err[0]
    assert "1 failed" in done.err[1]
    (tmp_path / "list").write_text("\n", encoding="utf-8")
    assert "list names no image" in run("--weight-path", "w.onnx", "--list", tmp_path / "list").err[0]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "nothing to read"),
        (["--weight-path", "w.onnx"], "nothing to read"),
        (["scans"], "--weight-path"),
        (["scans", "--weight-path", "gone.onnx"], "gone.onnx does not exist"),
        (["scans", "--weight-path", "scans/vertical/1.png"], "1.png"),
        (["scans", "--image-dir", "gone"], "--image-dir gone is no folder"),
        (["--image-dir", "scans/vertical/1.png"], "is no folder"),
        (["--list", "gone.txt"], "--list gone.txt cannot be read: No such file"),
        (["--list", "scans"], "--list scans cannot be read: Is a directory"),
        (["-", "-"], "stdin was given twice"),
        (["-", "--list", "-"], "stdin was given twice"),
        (["scans", "--resume"], "--output"),
        (["scans", "--resume", "--output", "a", "--format", "txt"], "lines of --format txt do not say it"),
        (["scans", "--format", "xml"], "--format"),
        (["scans", "--direction", "up"], "--direction"),
        (["scans", "--batch-size", "0"], "--batch-size"),
        (["scans", "--workers", "two"], "'two' is no number from 1 on"),
        (["scans", "--wieght-path", "w.onnx"], "--wieght-path"),
        (["scans", "--weight-path", "w.onnx", "--allow", "☃"], "--allow"),
        (["scans", "--weight-path", "w.onnx", "--charset", "gone.txt"], "gone.txt"),
        (["scans", "--weight-path", "w.onnx", "-d", "gpu"], "gpu"),
        (["scans", "--weight-path", "w.onnx", "--output", "gone/a.txt"], "gone/a.txt cannot be written"),
        (["scans", "--weight-path", "w.onnx", "--output", "scans"], "scans is no file"),
        (["scans", "--weight-path", "w.onnx", "--output", "/dev/null"], "/dev/null is no file"),
    ],
)
def test_mistakes(run: Run, flags: list[str], words: str) -> None:
    done = run(*flags)
    assert done.code == 2
    assert done.out == b""
    assert len(done.err) == 1
    assert words in done.err[0]


def test_readings_are_those_of_the_library(run: Run, files: Path) -> None:
    done = run("--weight-path", "w.onnx", ALL[0], "--format", "jsonl")
    (reading,) = Recognizer.load(files / "w.onnx").read([files / ALL[0]])
    assert isinstance(reading, Reading)
    assert json.loads(done.out) == {"path": ALL[0], **reading.to_dict()}
