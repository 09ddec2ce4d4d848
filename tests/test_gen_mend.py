"""What a user's disk and shell may do to a set: half of it gone, a broken manifest, a closed or ASCII terminal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gen import cli
from tests.small_set import ROOT, flags
from tools import verify


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``set``, a small set of both directions."""
    folder = tmp_path_factory.mktemp("made")
    assert cli.main(["--out", str(folder / "set"), "--n", "100", *flags(folder)]) == 0
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "set", tmp_path / "set"))


def test_half_a_set_is_not_well(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(copy / "vertical")
    assert verify.main([str(copy)]) == 1
    assert "vertical is not there, though recipe.json lists it" in capsys.readouterr().err
    assert verify.main([str(copy / "horizontal")]) == 0  # one direction alone is whole


def test_a_set_without_its_recipe_is_not_well(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "recipe.json").unlink()
    assert verify.main([str(copy)]) == 1
    assert "recipe.json cannot be used" in capsys.readouterr().err


def test_the_same_command_mends_a_manifest(made: Path, copy: Path) -> None:
    manifest = copy / "horizontal/manifest.json"
    whole = manifest.read_bytes()
    manifest.write_text("{")
    assert verify.main([str(copy)]) == 1
    assert cli.main(["--out", str(copy), "--n", "100", *flags(made)]) == 0
    assert manifest.read_bytes() == whole


def test_finish_and_dry_run_exclude_each_other(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "horizontal/manifest.json").unlink()
    assert cli.main(["--out", str(copy), "--finish", "--dry-run"]) == 2
    assert "give one of them" in capsys.readouterr().err
    assert not (copy / "horizontal/manifest.json").exists()


@pytest.mark.parametrize("setup", ["2>&-", ">&-", "| true"])
def test_nobody_listening_costs_nothing(setup: str, made: Path, tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "gen",
        "--out",
        str(tmp_path / "文"),
        "--n",
        "2",
        "--direction",
        "vertical",
        *flags(made),
    ]
    command = f"set -o pipefail; {' '.join(words)} {setup}"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "文/vertical/manifest.json").is_file()


def test_an_empty_font_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--out", str(tmp_path), "--n", "2", "--fonts", ""]) == 2
    assert "empty text" in capsys.readouterr().err


def test_a_decimal_comma_is_no_thousand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--out", str(tmp_path), "--n", "1,5"]) == 2
    assert "--n 1,5: write a whole number" in capsys.readouterr().err
