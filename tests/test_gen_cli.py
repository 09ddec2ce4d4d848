"""The command line: what it makes, what it tells, and one line for every mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_set import ROOT, command, contents, flags, font_files, refused

from gen import cli
from gen.store import LocalStore

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return command(tmp_path, monkeypatch)


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
