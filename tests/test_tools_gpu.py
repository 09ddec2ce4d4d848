"""A rented GPU at the first try: what is carried there, legs that fit their time, and what comes back; on a CPU here."""

from __future__ import annotations

import json
import lzma
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import train_runs
from hypothesis import given, settings
from hypothesis import strategies as st
from small_set import CHARS, ROOT

from gen import paths
from gen.errors import UserError
from gen.fontfile import sha256_file
from gen.fonts import catalogue
from tools import gpu_leg, gpu_pack, gpu_parts, gpu_schedule, gpu_state, gpu_trainer
from train import checkpoint, evaluate
from train.cli import main as train
from train.config import Stage, TrainConfig, load_config

# What the machine's image has of what gen and train import (its documentation, 2026-11).
THERE = {
    "PIL", "absl", "cv2", "filelock", "fontTools", "fsspec", "google", "llvmlite", "ml_dtypes", "numba", "numpy", "onnx",
    "rapidfuzz", "tensorboard", "torch", "tqdm", "urllib3", "yaml",
}  # fmt: skip
TORCH = {
    "_distutils_hack",
    "functorch",
    "jinja2",
    "markupsafe",
    "mpmath",
    "networkx",
    "packaging",
    "sympy",
    "torchgen",
}
RUN = """
model: {widths: [8, 8, 16, 16], depths: [0, 1, 0, 1], dim: 16}
data: {workers: 0, val: 12, window: 16}
keep: {every: 20, validate: 100000}
stages:
  - {name: glyphs, lines: 3000, batch: 24, loss: frames, lr: 4.0e-3, warmup: 2}
  - {name: full, lines: 9000, batch: 12, warmup: 2}
"""
PIP = [entry.name for entry in catalogue() if entry.manager == "pip"]


@settings(deadline=None, max_examples=25)
@given(size=st.integers(0, 3000), part=st.integers(200, 4000))
def test_a_file_in_parts_is_the_file(tmp_path_factory: pytest.TempPathFactory, size: int, part: int) -> None:
    folder = tmp_path_factory.mktemp("parts")
    source = folder / "a.tar.xz"
    source.write_bytes(os.urandom(size))
    parts = gpu_parts.cut(source, folder / "parts", part)
    assert all(path.stat().st_size <= part for path in parts)
    assert gpu_parts.missing(folder / "parts", "a.tar.xz") == []
    gpu_parts.join(folder / "parts", "a.tar.xz", folder / "b")
    assert (folder / "b").read_bytes() == source.read_bytes()
    number = len(parts) // 2
    parts[number].unlink()
    assert gpu_parts.missing(folder / "parts", "a.tar.xz") == [number + 1]


def _stages(*stages: tuple[int, int, str]) -> TrainConfig:
    return TrainConfig(
        stages=tuple(
            Stage(name=f"s{k}", lines=lines, batch=batch, loss=loss)  # type: ignore[arg-type]
            for k, (lines, batch, loss) in enumerate(stages)
        )
    )


plans = st.lists(
    st.tuples(st.integers(10_000, 1_000_000), st.sampled_from([12, 24, 96]), st.sampled_from(["frames", "ctc"])),
    min_size=1, max_size=4,
)  # fmt: skip


@given(plans, st.floats(0, 0.9), st.floats(60, 1500), st.lists(st.floats(1000, 30_000), min_size=4, max_size=4))
def test_stages_take_the_time_that_is_left(
    stages: list[tuple[int, int, str]], done: float, seconds: float, speeds: list[float]
) -> None:
    wish = _stages(*stages)
    step = int(done * gpu_schedule.steps(wish))
    known = {f"s{k}": speed for k, speed in enumerate(speeds)}
    found = gpu_schedule.fit(wish, step, seconds, known)
    took, at = 0.0, step
    for stage, before in zip(found.stages, wish.stages):
        assert stage.batch is not None
        steps, had = stage.lines // stage.batch, -(-before.lines // stage.batch)
        assert stage.lines == steps * stage.batch
        if at >= had:
            assert steps == had  # what is over keeps its place among the steps
        did = min(at, had)
        took, at = took + (steps - did) * stage.batch / known[stage.name], at - did
    assert seconds - 1e-6 < took < seconds + sum(batch for _, batch, _ in stages) / 1000 + 1e-6
    again = gpu_schedule.fit(found, step, seconds, known)
    assert abs(gpu_schedule.steps(again) - gpu_schedule.steps(found)) <= 0.01 * gpu_schedule.steps(found) + len(stages)


def test_an_untimed_stage_is_taken_for_slower() -> None:
    wish = _stages((12_000, 12, "frames"), (12_000, 12, "ctc"))
    assert gpu_schedule.fit(wish, 0, 10, {}) == wish
    found = gpu_schedule.fit(wish, 0, 3 * (1 + gpu_schedule.COST["ctc"]), {"s0": 1000.0})
    assert [stage.lines for stage in found.stages] == [3000, 3000]


def test_half_a_batch_leaves_the_lines_to_go_as_they_were() -> None:
    wish = _stages((2400, 24, "frames"), (4800, 48, "ctc"), (9600, 24, "ctc"))
    found = gpu_schedule.halve(wish, 130)  # 100 steps of the first stage, 30 of the second
    assert [(stage.batch, stage.lines) for stage in found.stages] == [(24, 2400), (24, 24 * 170), (12, 9600)]
    assert gpu_schedule.halve(found, 130) == found  # 12 lanes do not share 6 lines


def test_a_run_that_goes_on_keeps_its_lengths_and_takes_new_rates() -> None:
    config, held = _stages((2400, 24, "frames"), (4800, 48, "ctc")), _stages((999, 12, "frames"), (77, 24, "ctc"))
    lower = replace(config, stages=tuple(replace(stage, lr=1e-4) for stage in config.stages))
    found = gpu_schedule.fitted(lower, held)
    assert [(stage.lr, stage.batch, stage.lines) for stage in found.stages] == [(1e-4, 12, 999), (1e-4, 24, 77)]
    assert gpu_schedule.fitted(lower, _stages((2400, 24, "frames"))) == lower


def test_rates_leave_out_the_first_half_and_stalls(tmp_path: Path) -> None:
    speeds = [1e6] * 5 + [100.0, 200.0, 0.1, 100.0, 200.0]
    lines = [{"step": k, "stage": "a", "lines_per_s": speed} for k, speed in enumerate(speeds)]
    text = "\n".join(map(json.dumps, [*lines, {"step": 10, "lines": 3}])) + '\n{"step": 11, "sta'
    (tmp_path / "m").write_text(text)
    assert gpu_schedule.rates(tmp_path / "m") == {"a": pytest.approx(400 / 3)}
    assert gpu_schedule.rates(tmp_path / "none") == {}


def test_a_run_has_all_the_time_that_is_left() -> None:
    one, slack = 540 * (1 - gpu_leg.SAVING), gpu_leg.SLACK
    clock = gpu_leg.Clock(540, None)
    assert clock.last
    assert clock.planned() == pytest.approx(one * slack, rel=0.01)
    clock = gpu_leg.Clock(540, gpu_leg.RESERVE + 540 + 300)
    assert not clock.last
    assert clock.planned() == pytest.approx((one + 300) * slack, rel=0.01)
    clock.starting = 20
    assert clock.planned() == pytest.approx((one + 300 - 20) * slack, rel=0.01)
    assert clock.planned(runs=True) == pytest.approx((one + 300) * slack, rel=0.01)
    assert gpu_leg.Clock(540, gpu_leg.RESERVE + 540 + gpu_leg.SHORTEST - 1).last
    assert gpu_leg.Clock(540, 300).seconds == 240
    assert gpu_leg.Clock(540, 30).here() < 2


def test_what_comes_back_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    flags = ["--direction", "horizontal", "--steps"]
    assert train([*train_runs.flags(tmp_path), *flags, "8"]) == 0
    values = gpu_state.export(tmp_path / "run", tmp_path / "back")
    weights = checkpoint.load_weights(tmp_path / "back" / checkpoint.WEIGHTS)
    assert weights.about["step"] == 8
    for name, tensor in weights.net.state_dict().items():
        assert torch.equal(tensor, gpu_state.full(values["ema"][name].half() if tensor.is_floating_point() else tensor))
    assert gpu_state.restore(tmp_path / "back", tmp_path / "again") == 8
    restored = checkpoint.load(tmp_path / "again" / checkpoint.LAST)
    for name, tensor in checkpoint.half(values["net"]).items():
        assert torch.equal(restored["net"][name], gpu_state.full(tensor))
    for number, entry in values["optimizer"]["state"].items():
        found = restored["optimizer"]["state"][number]
        assert found["step"] == entry["step"]
        for name in ("exp_avg", "exp_avg_sq"):
            assert found[name].dtype == torch.float32
            torch.testing.assert_close(found[name], entry[name], rtol=2**-8, atol=0)
    assert train([*train_runs.flags(tmp_path, "again"), *flags, "9"]) == 0
    assert "going on from step 8 of 9" in capsys.readouterr().err


def test_all_that_is_imported_is_carried_or_there() -> None:
    code = (
        "import json, sys, sysconfig; from pathlib import Path; import train.cli, train.evaluate, train.packed, onnx, tools.gpu_state\n"
        "sys.modules['botocore'] = None\n"  # TensorBoard takes it where it is, and does without
        "from torch.utils.tensorboard import SummaryWriter\n"
        "site = sysconfig.get_paths()['purelib']\n"
        "files = [(name, getattr(module, '__file__', None) or '') for name, module in sys.modules.items()]\n"
        "print(json.dumps(sorted({Path(file).relative_to(site).parts[0] for _, file in files if file.startswith(site)})))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    names = {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    found = {name for name in names if not name.startswith("__editable__")}  # ours, when installed with pip -e
    carried = {name.replace("-", "_").removesuffix("_py") for name in gpu_pack.PACKAGES}
    assert {"torch", "numba", "pydantic"} <= found
    assert found - carried - THERE <= TORCH, found


def test_the_configuration_is_one_that_legs_can_be_fitted_to() -> None:
    config = load_config("train-gpu")
    assert [stage.name for stage in config.stages] == ["glyphs", "short", "full", "hard"]
    assert all(stage.batch and stage.batch % config.data.lanes == 0 for stage in config.stages)
    halved = config
    for _ in range(3):  # memory may run out three times
        halved = gpu_schedule.halve(halved, gpu_schedule.steps(halved) - 1)
    assert halved.stages[-1].batch == 96
    assert replace(halved, stages=config.stages) == config


def test_fonts_of_another_version_are_not_carried(tmp_path: Path) -> None:
    entries = [replace(entry, sha256="0" * 64) for entry in catalogue() if entry.name == PIP[0]]
    with pytest.raises(UserError, match=PIP[0]):
        gpu_pack.pack(tmp_path / "gpu", entries, (), "3.12", 1 << 20)
    assert not any((tmp_path / "gpu").glob("*"))


def _leg(cwd: Path, folder: Path, *own: str) -> str:
    """A leg as a process, with folders of its own for all that it keeps; what it says."""
    kept = ("PATH", "LANG", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    environ = {key: os.environ[key] for key in kept if key in os.environ}
    environ |= {"HOME": str(folder / "user"), "OUT": str(folder / "back"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tools.gpu_leg", *own, "--home", str(folder / "machine")),
            *("--carried", str(folder / "carried"), "--", "--device", "cpu", "--config", str(folder / "run.yaml")),
            *("--charset", str(folder / "charset.txt"), "--data", "gen:gen-default", "--direction", "vertical"),
        ],
        cwd=cwd, env=environ, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _rehearse(cwd: Path, folder: Path, seconds: int) -> Iterator[str]:
    """From packing to the last leg, as the recipe has it; what each leg said."""
    (folder / "run.yaml").write_text(RUN)
    (folder / "charset.txt").write_text("\n".join(CHARS) + "\n", encoding="utf-8")
    entries = [entry for entry in catalogue() if entry.name == PIP[0]]
    parts = gpu_pack.pack(folder / "packed", entries, (), "3.12", 4_000_000)
    assert [path.parent.name for path in parts] == ["1", "2"]
    shutil.copytree(folder / "packed/1", folder / "carried/1")
    assert "not here yet: part 2" in _leg(cwd, folder)
    shutil.rmtree(folder / "carried")
    shutil.copytree(folder / "packed/2", folder / "carried/2")
    try:
        for legs in (6, 5, *[1] * 8):  # in the first one kernels are compiled
            yield _leg(cwd, folder, "--seconds", str(seconds), "--left", str(legs * seconds + gpu_leg.RESERVE))
            shutil.rmtree(folder / "carried", ignore_errors=True)  # the machine keeps what it has
            shutil.rmtree(folder / "back", ignore_errors=True)
    finally:
        if (trainer := gpu_trainer.Trainer(folder / "machine")).known:
            trainer.stop(30)


def _step(folder: Path) -> int:
    path = folder / "back/weights.pt"
    return int(checkpoint.load_weights(path).about["step"]) if path.exists() else 0


@pytest.mark.long
def test_legs_from_packing_to_weights_that_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if (paths.cache_dir() / "numba").exists():  # compiling takes as long as all the rest
        shutil.copytree(paths.cache_dir() / "numba", tmp_path / "machine/cache/numba")
    steps = [0]
    for said in _rehearse(ROOT, tmp_path, 15):  # noqa: B007
        steps.append(_step(tmp_path))
        if len(set(steps)) == 3 or len(steps) == 8:  # on a busy machine a leg may get no further than its start
            break
    assert len(set(steps)) == 3, said
    back = tmp_path / "back"
    assert len(list(back.iterdir())) <= 8
    assert f"step {steps[-1]} of {gpu_schedule.steps(load_config(str(back / 'stages.yaml')))}" in said
    metrics = [json.loads(line) for line in lzma.decompress((back / "metrics.jsonl.xz").read_bytes()).splitlines()]
    seen = [line["step"] for line in metrics if "loss" in line]
    assert seen == sorted(set(seen))
    assert seen[0] <= 2 <= steps[-1] - 1 <= seen[-1]
    assert b"going on from step" in lzma.decompress((back / "train.log.xz").read_bytes())
    capsys.readouterr()
    flags = ["--weight-path", str(back / "weights.pt"), "--charset", str(tmp_path / "charset.txt")]
    assert evaluate.main([*flags, "--data", "gen:gen-default", "--num", "10"]) == 0
    assert "10" in capsys.readouterr().out


@pytest.mark.long
def test_legs_in_a_bare_copy_to_the_end_and_on_another_machine(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("gen", "train", "tools", "configs"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    middle = tmp_path / "middle"
    looked_on = False
    for number, said in enumerate(_rehearse(tree, tmp_path, 40)):
        looked_on |= "the trainer has" in said
        if _step(tmp_path) and not middle.exists():
            shutil.copytree(tmp_path / "back", middle)
        if "the run is done" in said or number == 7:
            break
    assert "the run is done" in said
    assert looked_on
    assert _step(tmp_path) == gpu_schedule.steps(load_config(str(tmp_path / "back/stages.yaml")))

    shutil.rmtree(tmp_path / "machine")  # given back too early: the next one gets all again, and the state
    shutil.rmtree(tmp_path / "back")
    shutil.move(middle, tmp_path / "back")
    before = _step(tmp_path)
    shutil.copytree(tmp_path / "back", tmp_path / "carried/state")
    assert "not here yet: part 1 of" in _leg(tree, tmp_path)
    for name in ("1", "2"):
        shutil.rmtree(tmp_path / "carried", ignore_errors=True)
        shutil.copytree(tmp_path / "packed" / name, tmp_path / "carried" / name)
        said = _leg(tree, tmp_path, "--seconds", "80", "--left", str(200 + gpu_leg.RESERVE))
    assert f"going on from what was brought back after step {before}" in said
    assert _step(tmp_path) > before


@pytest.mark.long
def test_everything_packed_fits_four_calls(tmp_path: Path) -> None:
    for name in ("gpu/1/carried.tar.xz.1-of-9", "gpu/9/carried.tar.xz.9-of-9", "gpu/2024-photos/a.txt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    parts = gpu_pack.pack(
        tmp_path / "gpu", catalogue(), gpu_pack.PACKAGES, "3.12", gpu_pack.room(gpu_pack.tree_bytes())
    )
    assert len(parts) == 4
    assert sorted(path.name for path in (tmp_path / "gpu").iterdir()) == ["1", "2", "2024-photos", "3", "4"]
    assert sorted(path.name for path in (tmp_path / "gpu").rglob("*.*")) == sorted(
        [*(part.name for part in parts), "a.txt"]
    )
    assert max(part.stat().st_size for part in parts) + gpu_pack.tree_bytes() < gpu_pack.TREE
    for part in parts:
        shutil.move(part, tmp_path)
    assert gpu_leg.collect(tmp_path / "none", tmp_path) == []
    compiled = {path.name.split(".")[1] for path in (tmp_path / "site").rglob("*.so") if "cpython" in path.name}
    assert compiled == {"cpython-312-x86_64-linux-gnu"}
    for entry in catalogue():
        place = f"site/{entry.file}" if entry.manager == "pip" else f"data/fonts/{entry.name}/{entry.basename}"
        assert sha256_file(tmp_path / place) == entry.sha256
