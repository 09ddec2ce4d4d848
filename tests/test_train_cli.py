"""What the command refuses, and how it says so."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from servers import Faulty
from shard_set import CHARS, make_set
from train_runs import CONFIG, flags, steps

from train.cli import main

CTC = CONFIG.replace("loss: frames, ", "")


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--data", "gen:gen-defualt"], "gen-defualt does not exist"),
        (["--data", "gen:gen-default=0"], "weight above 0"),
        (["--set", "model.dimm=3"], "did you mean model.dim"),
        (["--set", "stages.0.linse=3"], "did you mean stages.0.lines"),
        (["--set", "data.lanes=5"], "stage glyphs: a batch of 12 cannot be dealt to 5 lanes"),
        (["--init", "nothing.pt"], "nothing.pt does not exist"),
        (["--steps", "many"], "--steps"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    tmp_path: Path, more: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [] if "--data" not in more else more
    arguments = flags(tmp_path, data=data[1]) if data else [*flags(tmp_path), *more]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_a_file_in_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").write_text("mine")
    assert main(flags(tmp_path)) == 2
    assert "run" in capsys.readouterr().err
    assert (tmp_path / "run").read_text() == "mine"


def test_a_stage_that_cannot_be_is_refused_before_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = CONFIG + "  - {name: late, lines: 12, batch: 12, sets: [effects.rotatoin.p=1]}\n"
    assert main(flags(tmp_path, config=late)) == 2
    said = capsys.readouterr().err
    assert "stage late" in said
    assert "did you mean effects.rotation" in said
    assert not steps(tmp_path / "run")


def on_shards(folder: Path, data: Path | str) -> list[str]:
    charset = folder / "shards.txt"
    charset.write_text("\n".join(CHARS.chars) + "\n", encoding="utf-8")
    return [*flags(folder, data=str(data), config=CTC), "--charset", str(charset)]


def test_half_a_set_is_not_a_whole_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for way in ("horizontal", "vertical"):
        make_set(tmp_path / "set", {"train": 60, "val": 12}, way)
    (tmp_path / "set" / "horizontal" / "manifest.json").unlink()
    assert main(on_shards(tmp_path, tmp_path / "set")) == 2
    said = capsys.readouterr().err
    assert "set/horizontal has shards and no manifest.json" in said
    shutil.rmtree(tmp_path / "set" / "horizontal")
    assert main([*on_shards(tmp_path, tmp_path / "set"), "--steps", "1"]) == 0


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_bad_shard_is_named_or_skipped(tmp_path: Path, split: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_set(tmp_path / "set", {"train": 60, "val": 24}, shard_size=12)
    shard = sorted(folder.glob(f"{split}-*.tar"))[1]
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 255
    shard.write_bytes(bytes(data))
    arguments = [*on_shards(tmp_path, folder), "--steps", "3"]
    code = main(arguments)
    said = capsys.readouterr().err
    assert shard.stem in said
    assert code == 2
    shutil.rmtree(tmp_path / "run")
    assert main([*arguments, "--skip-bad-shards", "1"]) == 0
    said = capsys.readouterr().err
    assert "no accuracy" not in said
    assert len(steps(tmp_path / "run")) == 3


def test_a_set_without_validation_lines_is_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_set(tmp_path / "set", {"train": 60})
    assert main([*on_shards(tmp_path, folder), "--steps", "1"]) == 0
    told = capsys.readouterr().err
    assert f"no accuracy will be measured on {folder}, which has no lines for validation" in told
    assert "no accuracy will be measured: of all --data none has lines for validation" in told
    assert len(steps(tmp_path / "run")) == 1


@pytest.mark.parametrize(
    ("ending", "first", "fault", "words"),
    [
        ("manifest.json", 1, "hang up", "horizontal/manifest.json: .*3 times in a row"),
        ("val-000001.json", 0, "500", "val-000001.json: the server answers 500 Internal Server Error, 3 times"),
        ("val-000000.json", 0, "flip", "val-000000 of .*the bytes have the sha256"),
        ("val-000000.tar", 0, "404", "val-000000.tar: the server answers 404"),
    ],
)
def test_validation_lines_that_cannot_be_had_stop_a_run(
    tmp_path: Path, ending: str, first: int, fault: str, words: str,
    capsys: pytest.CaptureFixture[str], quick: None,
) -> None:  # fmt: skip
    """To train for hours without a word on accuracy is worse than to be told; mended, the same command trains."""
    make_set(tmp_path / "set", {"train": 60, "val": 24}, shard_size=12)
    broken = True

    def spoil(path: str, before: int) -> str:
        return fault if broken and path.endswith(ending) and before >= first else ""

    with Faulty(tmp_path / "set", spoil) as server:
        arguments = [*on_shards(tmp_path, f"{server.url}/horizontal"), "--cache", str(tmp_path / "cache")]
        assert main([*arguments, "--steps", "1"]) == 2
        said = capsys.readouterr().err
        assert re.search(words, said.splitlines()[-1])
        assert not steps(tmp_path / "run")
        broken = False
        assert main([*arguments, "--steps", "1"]) == 0
        assert len(steps(tmp_path / "run")) == 1


def test_a_cache_that_is_too_small_is_not_the_shards_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_set(tmp_path / "set", {"train": 60, "val": 12}, block_bytes=100_000)
    with Faulty(tmp_path / "set") as server:
        arguments = [*on_shards(tmp_path, f"{server.url}/horizontal"), "--cache", str(tmp_path / "cache")]
        assert main([*arguments, "--skip-bad-shards", "9", "--set", f"data.cache_gb={9000 / 2**30}"]) == 2
    said = capsys.readouterr().err
    assert f"larger than the whole cache {tmp_path / 'cache'}, which may take 9,000 bytes: raise data.cache_gb" in said
    assert "skip" not in said
