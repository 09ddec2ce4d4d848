"""Runs that are stopped, killed, spread over processes or fed with what cannot be learned."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor
from train_runs import CONFIG, STEPS, assert_equal, flags, start, state, steps

from train import checkpoint
from train.cli import main
from train.loss import Classes, sample_classes


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run in one go; its folder."""
    folder = tmp_path_factory.mktemp("straight")
    os.environ["OMP_NUM_THREADS"] = "1"
    assert main(flags(folder)) == 0
    return folder / "run"


def wait_for(what: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_a_run_writes_what_it_says(straight: Path) -> None:
    found = steps(straight)
    assert [values["step"] for values in found] == list(range(1, STEPS + 1))
    assert all({"loss", "lines_per_s", "wait", "lr", "stage"} <= values.keys() for values in found)
    assert [values["stage"] for values in found] == ["glyphs"] * 6 + ["full"] * 6
    assert all(0 <= values["wait"] <= 1 and values["lines_per_s"] > 0 for values in found)
    assert list((straight / "tensorboard").glob("events.*"))
    weights = checkpoint.load_weights(straight / "weights.pt")
    assert weights.directions == ("horizontal", "vertical")
    assert weights.about["step"] == STEPS
    assert {source["identity"] for source in weights.about["data"]}
    assert (straight / "best.pt").exists()


def test_stopped_and_gone_on_is_the_same_to_the_bit(straight: Path, tmp_path: Path) -> None:
    for last in ("5", "8", "12"):  # in the middle of a stage, and of what lies between two checkpoints
        assert main([*flags(tmp_path), "--steps", last]) == 0
    assert_equal(tmp_path / "run" / "last.pt", straight / "last.pt")
    assert [values["step"] for values in steps(tmp_path / "run")] == list(range(1, STEPS + 1))
    assert [values["loss"] for values in steps(tmp_path / "run")] == [values["loss"] for values in steps(straight)]


def test_killed_and_gone_on_is_the_same_to_the_bit(straight: Path, tmp_path: Path) -> None:
    arguments, out = flags(tmp_path), tmp_path / "run"
    process = start(arguments)
    wait_for(lambda: len(steps(out)) >= 7 or process.poll() is not None)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = len(steps(out))
    newest, _ = checkpoint.load_newest(out)
    assert newest is not None
    kept = newest["step"]
    assert done - 2 <= kept <= done + 1
    assert main(arguments) == 0
    assert_equal(out / "last.pt", straight / "last.pt")


def test_sigterm_saves_and_ends_well(straight: Path, tmp_path: Path) -> None:
    arguments, out = [*flags(tmp_path), "--set", "keep.every=1000"], tmp_path / "run"
    process = start(arguments)
    wait_for(lambda: len(steps(out)) >= 1 or process.poll() is not None)
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0, text
    assert "stopped and saved after step" in text
    assert "Traceback" not in text
    assert (out / "last.pt").exists()
    assert main(arguments) == 0
    assert_equal(out / "last.pt", straight / "last.pt")


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*flags(tmp_path), "--steps", "6"]) == 0
    last = tmp_path / "run" / "last.pt"
    last.write_bytes(last.read_bytes()[:-3000])
    assert main(flags(tmp_path)) == 0
    text = capsys.readouterr().err
    assert "last.pt is damaged" in text
    assert "going on from step 4" in text
    assert_equal(last, straight / "last.pt")


def test_two_processes_learn_the_same_lines_and_go_on_alone(tmp_path: Path) -> None:
    arguments = flags(tmp_path)
    process = start([*arguments, "--steps", "8"], "--standalone", "--nproc-per-node", "2")
    text, _ = process.communicate(timeout=180)
    assert process.returncode == 0, text
    assert "2 processes" in text
    assert len(steps(tmp_path / "run")) == 8
    assert main(arguments) == 0
    assert [values["step"] for values in steps(tmp_path / "run")] == list(range(1, STEPS + 1))


def test_a_killed_rank_costs_the_steps_since_the_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "run"
    slow = CONFIG.replace("lines: 72", "lines: 240")
    process = start(
        flags(tmp_path, config=slow), "--standalone", "--nproc-per-node", "2", "--max-restarts", "1",
        "--monitor-interval", "0.1",
    )  # fmt: skip
    wait_for(lambda: len(steps(out)) >= 5 or process.poll() is not None)
    (child,) = [pid for pid in _children(process.pid) if b"LOCAL_RANK=1" in _environment(pid)]
    reached = len(steps(out))
    os.kill(child, signal.SIGKILL)
    text, _ = process.communicate(timeout=240)
    assert process.returncode == 0, text
    assert [values["step"] for values in steps(out)] == list(range(1, 41))
    again = int(text.rpartition("going on from step ")[2].split(" ")[0])
    assert again >= reached - 2


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.parametrize("launcher", [[], ["--standalone", "--nproc-per-node", "2"]], ids=["alone", "two"])
def test_a_full_disk_costs_no_step(straight: Path, tmp_path: Path, launcher: list[str]) -> None:
    """The metrics cannot be written after some steps; the state, in other files, can."""
    arguments, out = [*flags(tmp_path), "--set", "keep.every=1000"], tmp_path / "run"
    assert main([*arguments, "--steps", "4"]) == 0
    with (out / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": 1, "note": "x" * 3_000_000}) + "\n")
    room = 5 * len(json.dumps(steps(out)[-1])) // 2
    process = start(arguments, *launcher, largest=(out / "metrics.jsonl").stat().st_size + room)
    text, _ = process.communicate(timeout=180)
    assert process.returncode == (1 if launcher else 2), text
    told = re.findall(r"metrics\.jsonl cannot be written: File too large; make room.*\(step (\d+) is saved\)", text)
    assert len(told) == 1, text
    assert launcher or "Traceback" not in text
    saved, noted = int(told[0]), [values["step"] for values in steps(out)]
    assert checkpoint.load(out / "last.pt")["step"] == saved >= noted[-1] > 4
    assert main(arguments) == 0
    if not launcher:  # two processes add in another order
        assert_equal(out / "last.pt", straight / "last.pt")
    assert [values["step"] for values in steps(out)] == [*noted, *range(saved + 1, STEPS + 1)]


def test_weights_that_a_full_disk_has_cost_are_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, out = [*flags(tmp_path), "--steps", "2"], tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("train.loop.WEIGHTS", "w" * 300)  # a name that no disk takes
        assert main(arguments) == 2
    assert checkpoint.load(out / "last.pt")["step"] == 2
    assert main(arguments) == 0
    assert checkpoint.load_weights(out / "weights.pt").about["step"] == 2
    capsys.readouterr()
    assert main(arguments) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*flags(tmp_path), "--steps", "4"]) == 0
    last = tmp_path / "run" / "last.pt"
    values = torch.load(last, weights_only=True)
    values["net"]["feature.weight"][0, 0, 0] = float("nan")
    checkpoint.save(last, values)
    before = last.read_bytes()
    capsys.readouterr()
    assert main(flags(tmp_path)) == 2
    text = capsys.readouterr().err
    assert "the loss of step 5 is nan" in text
    assert "diverged.json" in text
    assert last.read_bytes() == before
    assert '"step": 5' in (tmp_path / "run" / "diverged.json").read_text()


def test_another_charset_does_not_go_on(straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = flags(tmp_path)
    assert main([*arguments, "--steps", "2"]) == 0
    (tmp_path / "charset.txt").write_text("一\n二\n三\n四\n0\n1\n", encoding="utf-8")
    assert main(arguments) == 2
    text = capsys.readouterr().err
    held = state(tmp_path / "run" / "last.pt")
    assert "charset_sha256" in text
    assert "give another --out" in text
    assert held[".net.matrix"].shape[0] == 43


def test_a_stage_of_look_alikes_draws_and_samples_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampled: list[tuple[int, ...] | None] = []

    def sample(
        labels: Tensor, classes: int, negatives: int, seed: int, step: int, near: NDArray[np.int32] | None
    ) -> Classes:
        sampled.append(None if near is None else near.shape)
        return sample_classes(labels, classes, negatives, seed, step, near)

    monkeypatch.setattr("train.objective.sample_classes", sample)
    more = CONFIG + "  - {name: hard, lines: 24, batch: 12, alike: 0.5}\n"
    assert main([*flags(tmp_path, config=more), "--steps", "13"]) == 0
    table = tmp_path / "run" / "alike-hard.txt"
    lines = table.read_text(encoding="utf-8").split("\n")
    assert len(lines) == 44
    assert all(len(line) > 5 for line in lines[:-1])
    stamp = table.stat().st_mtime_ns
    assert main(flags(tmp_path, config=more)) == 0  # goes on with the same lines
    assert table.stat().st_mtime_ns == stamp
    assert main(flags(tmp_path, "straight", config=more)) == 0
    assert_equal(tmp_path / "straight" / "last.pt", tmp_path / "run" / "last.pt")
    assert sampled == [*[None] * 12, (43, 2), (43, 2)] * 2
    assert main(flags(tmp_path, "plain", config=more.replace(", alike: 0.5", ""))) == 0
    same = [(tmp_path / name / "last.pt") for name in ("straight", "plain")]
    assert not torch.equal(*(state(path)[".net.gate.weight"] for path in same))


def test_a_folder_that_another_run_holds_or_has_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".lock"):
        assert main(flags(tmp_path)) == 2
    assert f"another run writes to {tmp_path / 'run'}: wait for it" in capsys.readouterr().err
    with monkeypatch.context() as patch:  # while this one started
        patch.setattr("train.cli.last_written", lambda out: 1)
        assert main(flags(tmp_path)) == 2
    assert f"another run has written to {tmp_path / 'run'} since" in capsys.readouterr().err
    assert main([*flags(tmp_path), "--steps", "2"]) == 0
    shutil.copy(tmp_path / "run" / "weights.pt", tmp_path / "run" / "last.pt")
    assert main(flags(tmp_path)) == 2
    assert "last.pt is a file of weights, no checkpoint: give it to --init instead" in capsys.readouterr().err


def test_checkpoints_that_are_kept_for_good(tmp_path: Path) -> None:
    assert main([*flags(tmp_path), "--steps", "5", "--set", "keep.history=2", "--set", "keep.every=4"]) == 0
    kept = sorted((tmp_path / "run").glob("step-*.pt"))
    assert [path.name for path in kept] == ["step-00000002.pt", "step-00000004.pt"]
    assert [checkpoint.load(path)["step"] for path in kept] == [2, 4]
