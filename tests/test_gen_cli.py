"""The command line: what it makes, how a set grows, and one line for every mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_set import ROOT, Inline, command, contents, drafts, flags, font_files

from gen import cli
from gen.store import LocalStore

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return command(tmp_path, monkeypatch)


def refused(capsys: pytest.CaptureFixture[str], *parts: str) -> None:
    """The one line on stderr has all these parts."""
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("python -m gen: ")
    assert "Traceback" not in captured.err
    for part in parts:
        assert part in captured.err
    assert captured.out == ""


def test_one_command_makes_a_whole_set(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gen", "--out", str(tmp_path / "out"), "--n", "130", *flags(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""  # no bar without a terminal
    assert done.stdout.count("\n") == 1
    for part in ("530 images (130 train + 400 val, horizontal and vertical)", "12 shards", "images/s", "tools.verify"):
        assert part in done.stdout
    files = contents(tmp_path / "out")
    assert len(files) == 3 + 24
    assert json.loads(files["recipe.json"])["n"] == 130
    for direction in ("horizontal", "vertical"):
        splits = json.loads(files[f"{direction}/manifest.json"])["splits"]
        assert {name: split["samples"] for name, split in splits.items()} == {"train": 65, "val": 200}
    verified = subprocess.run([sys.executable, "-m", "tools.verify", str(tmp_path / "out")], cwd=ROOT, check=False)
    assert verified.returncode == 0


def test_one_direction(run: Run, tmp_path: Path) -> None:
    assert run("--n", "60", "--direction", "vertical") == 0
    assert not any(name.startswith("horizontal") for name in contents(tmp_path / "out"))


def test_a_second_run_does_nothing(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--n", "120") == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*") if path.name[0] != "."}
    capsys.readouterr()
    assert run("--n", "120") == 0
    assert "Nothing to do" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_set_grows_to_what_it_would_have_been_at_once(run: Run, tmp_path: Path) -> None:
    assert run("--n", "330", out="once") == 0
    assert run("--n", "90") == 0
    first = contents(tmp_path / "out")
    assert run("--n", "230") == 0
    assert run("--n", "330") == 0
    grown = contents(tmp_path / "out")
    assert grown == contents(tmp_path / "once")
    assert grown["horizontal/val-000000.tar"] == first["horizontal/val-000000.tar"]
    assert grown["horizontal/train-000000.tar"] != first["horizontal/train-000000.tar"]  # 45 of 50 before


def test_a_direction_can_be_added(run: Run, tmp_path: Path) -> None:
    assert run("--n", "160", out="once") == 0
    assert run("--n", "80", "--direction", "vertical") == 0
    assert run("--n", "80", "--direction", "horizontal") == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "once")


def test_a_set_never_shrinks(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--n", "120") == 0
    before = contents(tmp_path / "out")
    capsys.readouterr()
    assert run("--n", "100") == 2
    refused(capsys, "60 horizontal", "leave 50", "--overwrite", str(tmp_path / "out"))
    assert contents(tmp_path / "out") == before
    assert run("--n", "100", "--overwrite") == 0
    assert run("--n", "100", out="fresh") == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_the_directory_of_another_recipe_is_refused(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--n", "60") == 0
    before = contents(tmp_path / "out")
    capsys.readouterr()
    for dry in ([], ["--dry-run"]):
        assert run("--n", "60", "--seed", "5", "--set", "image.quality=77", *dry) == 2
        refused(
            capsys, "config.seed is 1 there and 5 here", "config.image.quality is 90 there and 77 here", "--overwrite"
        )
    assert contents(tmp_path / "out") == before


def test_overwrite_takes_away_only_files_of_the_set(run: Run, tmp_path: Path) -> None:
    assert run("--n", "160", "--set", "image.format=png") == 0
    out = tmp_path / "out"
    mine = ["notes.txt", "horizontal/train.txt", "horizontal/train-1.tar", "other/train-000000.tar"]
    (out / "other").mkdir()
    for name in mine:
        (out / name).write_text("mine")
    assert run("--n", "60", "--overwrite") == 0
    assert run("--n", "60", out="fresh") == 0
    files = contents(out)
    assert all(files.pop(name) == b"mine" for name in mine)
    assert files == contents(tmp_path / "fresh")


def test_overwrite_keeps_what_fits(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--n", "60", "--overwrite") == 0
    capsys.readouterr()
    assert run("--n", "60", "--overwrite") == 0  # so that a killed run goes on by the same command
    assert "Nothing to do" in capsys.readouterr().out


def test_shards_of_unknown_origin_are_refused(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--n", "60") == 0
    recipe = tmp_path / "out" / "recipe.json"
    text = recipe.read_text(encoding="utf-8")
    capsys.readouterr()
    recipe.unlink()
    assert run("--n", "60") == 2
    refused(capsys, "no recipe.json", "--overwrite")
    for broken in ("", "{}", "[1]", text.replace('"seed": 1', '"seed": 2')):
        recipe.write_text(broken, encoding="utf-8")
        assert run("--n", "60") == 2
        refused(capsys, "recipe.json cannot be used", "--overwrite")
    assert run("--n", "60", "--overwrite") == 0
    assert recipe.read_text(encoding="utf-8") == text


def test_slices_make_the_same_set(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--n", "330", out="once") == 0
    capsys.readouterr()
    assert run("--n", "330", "--slice", "2/3") == 0
    assert run("--n", "330", "--slice", "0/3") == 0
    assert "5 shards of the set are still to be made" in capsys.readouterr().out
    assert not (tmp_path / "out" / "horizontal" / "manifest.json").exists()
    assert cli.main(["--out", str(tmp_path / "out"), "--finish"]) == 2
    refused(capsys, "lacks 5 of 16 shards: horizontal/train-000001.tar")
    assert run("--n", "330", "--slice", "1/3") == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "once")
    (tmp_path / "out" / "vertical" / "manifest.json").unlink()
    assert cli.main(["--out", str(tmp_path / "out"), "--finish", "--n", "330"]) == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "once")
    assert cli.main(["--out", str(tmp_path / "out"), "--finish", "--n", "331"]) == 2
    assert cli.main(["--out", str(tmp_path / "nothing"), "--finish"]) == 2


def test_the_same_slice_twice_is_refused(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--n", "100", "--slice", "0/3") == 0
    capsys.readouterr()
    store = LocalStore(str(tmp_path / "out"))
    with store.lock("slice-1-of-3"):
        assert run("--n", "100", "--slice", "1/3") == 2
        refused(capsys, "another run is making slice 1/3", "wait for it")
        assert run("--n", "100") == 2
        refused(capsys, "slice 1/3", "same number")
        assert run("--n", "200", "--slice", "2/3") == 2
        refused(capsys, "slice 1/3", "another --n or --direction")
        assert run("--n", "100", "--slice", "2/3", "--seed", "2", "--overwrite") == 2
        refused(capsys, "slice 1/3")
        assert run("--n", "100", "--slice", "2/3") == 0
    assert run("--n", "100", "--slice", "1/3") == 0
    assert (tmp_path / "out" / "horizontal" / "manifest.json").exists()


def test_a_damaged_shard_is_made_again(run: Run, tmp_path: Path) -> None:
    assert run("--n", "160") == 0
    out = tmp_path / "out"
    before = contents(out)
    (out / "horizontal" / "train-000000.json").unlink()
    (out / "vertical" / "train-000001.tar").write_bytes(b"short")
    (out / "vertical" / "val-000001.json").write_text("{}")
    (out / "vertical" / ".val-000001.tar.1.tmp").write_text("stale")
    assert run("--n", "160") == 0
    assert contents(out) == before
    assert drafts(out) == []


def test_the_manifest_goes_before_its_shards_change(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--n", "160") == 0

    class Stopping(Inline):
        def run(self, *_: object) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli, "LocalEngine", Stopping)
    assert run("--n", "170") == 130
    assert not any(name.endswith("manifest.json") for name in contents(tmp_path / "out"))


def test_dry_run_shows_the_plan_and_writes_nothing(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--n", "1M", "--shard-size", "10k", "--dry-run") == 0
    text = capsys.readouterr().out
    for part in ("1,010,000", "500,000 train + 5,000 val", "102 of up to 10,000", "fonts     2\n", "43 characters"):
        assert part in text
    for part in ("GB", "images/s with 2 workers", "free"):
        assert part in text
    assert not (tmp_path / "out").exists()
    assert run("--n", "160") == 0
    before = contents(tmp_path / "out")
    capsys.readouterr()
    assert run("--n", "330", "--dry-run") == 0
    assert "16 of up to 50 images; 10 are done" in capsys.readouterr().out
    assert contents(tmp_path / "out") == before


def test_a_run_that_cannot_fit_changes_nothing(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--n", "160") == 0
    before = contents(tmp_path / "out")
    capsys.readouterr()
    with pytest.MonkeyPatch().context() as patch:
        patch.setattr(LocalStore, "free", lambda self: 100_000)
        assert run("--n", "5k") == 2
        refused(capsys, "100 KB free", "MB: give a smaller --n")
        assert run("--n", "5k", "--seed", "2", "--overwrite") == 2
        refused(capsys, "MB: give a smaller --n")
        assert run("--n", "5k", "--dry-run") == 2
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_other_formats(run: Run, tmp_path: Path, kind: str) -> None:
    assert run("--n", "4", "--direction", "vertical", "--format", kind) == 0
    assert json.loads((tmp_path / "out" / "vertical" / "manifest.json").read_bytes())["image"] == kind


def test_characters_that_never_appear_are_told(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = tmp_path / "text.txt"
    corpus.write_text("天下大中国人\n鬱鬱天下\n", encoding="utf-8")
    charset = tmp_path / "rare.txt"
    charset.write_text("天\n下\n\U0002a6a5\n", encoding="utf-8")
    assert run("--n", "4", "--corpus", str(corpus), "--charset", str(charset)) == 0
    told = capsys.readouterr().err
    assert "1 of 3 characters are in no font and never drawn: \U0002a6a5" in told
    assert "6 characters of the corpus are not in the charset and are left out: " in told


BAD_FLAGS = [
    (["--n", "0"], "whole number above 0"),
    (["--n", "-5"], "--n"),
    (["--n", "10X"], "--n 10X"),
    (["--n", "1.5"], "1.5"),
    (["--n", "1"], "--n 2 or more"),
    ([], "--n is missing"),
    (["--n", "10", "--shard-size", "0"], "--shard-size 0"),
    (["--n", "10", "--workers", "0"], "--workers 0"),
    (["--n", "10", "--slice", "3/3"], "--slice 3/3"),
    (["--n", "10", "--seed", "x"], "seed"),
    (["--n", "10", "--set", "sede=1"], "did you mean seed"),
    (["--n", "10", "--set", "effects.rotation.p=1.5"], "effects.rotation.p"),
    (["--n", "10", "--config", "gen-clasic"], "gen-clasic"),
    (["--n", "10", "--charset", "nowhere.txt"], "nowhere.txt"),
    (["--n", "10", "--fonts", "nowhere.ttf"], "nowhere.ttf"),
    (["--n", "10", "--corpus", "nowhere.txt"], "nowhere.txt"),
    (["--n", "10", "--format", "gif"], "gif"),
    (["--n", "10", "--direction", "up"], "up"),
    (["--n", "10", "--unknown"], "--unknown"),
    (["--n", "2B"], "larger --shard-size"),
]


@pytest.mark.parametrize(
    ("more", "part"), BAD_FLAGS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_mistake_is_one_line_and_exit_code_2(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], part: str
) -> None:
    try:
        code = run(*more)
    except SystemExit as leaving:
        code = int(str(leaving.code))
    assert code == 2
    refused(capsys, part)
    assert not (tmp_path / "out").exists()


def test_places_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    arguments = ["--n", "10", *flags(tmp_path)]
    for out, part in (
        ("s3://", "names no place"),
        ("http://127.0.0.1/x", "nothing can be written there"),
        ("simplecache::s3://bucket/x", "nothing can be written there"),
        ("nothing://bucket/x", "Protocol not known: nothing"),
        (str(tmp_path / "file"), "is a file"),
        ("", "--out"),
    ):
        assert cli.main(["--out", out, *arguments]) == 2
        refused(capsys, part)
    assert cli.main(["--out", str(tmp_path / "file" / "deeper"), *arguments]) == 2
    refused(capsys, "deeper")


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_read_only_directory_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o555)
    prefix = []
    if os.geteuid() == 0:  # root may write anywhere: do without the capability that lets it
        prefix = ["setpriv", "--bounding-set", "-dac_override", "--inh-caps", "-dac_override", "--"]
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
            pytest.skip("setpriv cannot drop capabilities here")
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "gen", "--out", str(out), "--n", "10", *flags(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Permission denied" in done.stderr
    assert str(out) in done.stderr


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main(["--help"])
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    for flag in [
        "out",
        "n",
        "direction",
        "config",
        "set",
        "seed",
        "workers",
        "shard-size",
        "format",
        "charset",
        "fonts",
        "add-fonts",
        "corpus",
        "slice",
    ]:
        assert f"--{flag} " in text
    for flag in ("finish", "overwrite", "dry-run"):
        assert f"--{flag}" in text


def test_added_fonts_join_the_others(run: Run, tmp_path: Path) -> None:
    fonts = font_files()
    assert run("--n", "4", "--fonts", fonts[0], "--add-fonts", fonts[1]) == 0
    parts = json.loads((tmp_path / "out" / "recipe.json").read_bytes())["recipe"]
    assert len(parts["fonts"]) == 2
