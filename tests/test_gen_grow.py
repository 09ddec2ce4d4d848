"""A set that is there already: it grows, is gone on with, mended, made in slices, or refused, and never shrinks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_set import Inline, command, contents, drafts, refused

from gen import cli
from gen.store import LocalStore

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return command(tmp_path, monkeypatch)


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
