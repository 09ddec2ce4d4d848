"""Processes that come to the same numbers by each strategy, are stopped, lost, and go on.

python -m pytest tests/test_train_comm.py
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from shard_set import CHARS, make_set
from small_set import ROOT, font_files
from train_runs import CONFIG, assert_equal, flags, start, steps

from gen.errors import UserError
from tools.nginx import free_port
from train import auto, checkpoint
from train.auto import Measured
from train.comm import Chosen
from train.config import Comm, Learning, Lite, load_config
from train.dist import World
from train.model import build
from train.setting import legs

TWO = ("--standalone", "--nproc-per-node", "2")
SECONDS = st.floats(1e-5, 100)


@given(st.integers(2, 64), st.integers(1, 8), SECONDS, SECONDS, st.floats(0.3, 1), SECONDS)
def test_auto_takes_the_plainest_that_is_nearly_as_fast_as_the_fastest(
    hosts: int, each: int, step: float, full: float, part: float, inside: float
) -> None:
    measured = Measured(hosts, hosts * each, 1000, step, full, full * part, inside * (each > 1))
    steps = auto.every(measured)
    speeds = auto.predict(measured, steps)
    chosen = auto.choose(measured)
    plainer = list(speeds)[: list(speeds).index(chosen)]
    assert speeds[chosen] >= auto.NEARLY * max(speeds.values())
    assert all(speeds[name] < auto.NEARLY * max(speeds.values()) for name in plainer)
    assert all(0 < speed <= hosts for speed in speeds.values())
    assert steps in (2**k for k in range(9))
    assert steps == auto.LONGEST or measured.half <= auto.SPENT * step * steps
    assert steps == 1 or measured.half > auto.SPENT * step * steps / 2
    patient = auto.every(measured, 60)  # nobody is given up who is in the middle of its steps
    assert patient == 1 or (patient <= steps and patient * step <= 30)


@pytest.mark.parametrize(
    ("full", "half", "chosen", "every"),
    [(0.8, 0.4, "local", 256), (0.163, 0.082, "local", 128), (0.02, 0.0105, "compress", 16), (0.01, 0.006, "allreduce", 8)],
    ids=["94.6 MB at 1 Gb/s", "19.6 MB at 1 Gb/s", "between", "nearly as fast"],
)  # fmt: skip
def test_auto_on_two_hosts_whose_steps_take_40_ms(full: float, half: float, chosen: str, every: int) -> None:
    measured = Measured(2, 2, 1000, 0.04, full, half)
    assert (auto.choose(measured), auto.every(measured)) == (chosen, every)


def world(*hosts: str) -> World:
    """The first of several processes that never speak to each other."""
    return World(0, len(hosts), 0, 1, torch.device("cpu"), tuple((host, host) for host in hosts))


def test_what_is_known_is_not_measured() -> None:
    def never() -> Measured:
        raise AssertionError

    slow = Measured(2, 2, 1000, 0.04, 0.16, 0.08)
    kept = auto.settle(Comm(), world("a", "b"), {}, lambda: slow)[1]
    for asked, where, before, expected in (
        (Comm(), world("a"), {}, "allreduce"),
        (Comm(), world("a", "a"), {}, "allreduce"),
        (Comm("compress"), world("a", "b"), {}, "compress"),
        (Comm("local"), world("a"), {}, "allreduce"),
        (Comm("local", 9), world("a", "b"), {}, "local, between processes every 9 steps, rate 1.4142"),
        (Comm("local", 9), world("a", "a", "b", "b"), {}, "local, between hosts every 9 steps, rate 1.4142"),
        (
            Comm("local", 9, "world"),
            world("a", "a", "b", "b"),
            {},
            "local, between processes every 9 steps, rate 1.4142",
        ),
        (Comm(), world("a", "b"), kept, "local, between processes every 128 steps, rate 1.4142"),
        (Comm("local"), world("a", "b"), kept, "local, between processes every 128 steps, rate 1.4142"),
    ):
        chosen, _, _ = auto.settle(asked, where, before, never)
        assert str(chosen) == expected
    with pytest.raises(AssertionError):
        auto.settle(Comm(), world("a", "b", "c"), kept, never)


def test_what_changes_is_told() -> None:
    measured = Measured(2, 2, 4_890_000, 0.04, 0.163, 0.082)
    _, kept, told = auto.settle(Comm(), world("a", "b"), {}, lambda: measured)
    assert "a step takes 40 ms, to average 19.6 MB over 2 processes 163 ms, in half precision 82 ms" in told[0]
    assert "allreduce 0.41, compress 0.71, local 1.97 (every 128 steps)" in told[0]
    assert auto.settle(Comm("compress"), world("a", "b"), kept, lambda: measured)[2] == [
        "comm was local, between processes every 128 steps, rate 1.4142 up to the checkpoint and is compress from here on"
    ]


def test_measuring_changes_nothing() -> None:
    alone = World(0, 1, 0, 1, torch.device("cpu"))
    net = build(Lite(widths=(8, 8, 16, 16), depths=(0, 1, 0, 1), dim=16), 43)
    before, drawn = {name: tensor.clone() for name, tensor in net.state_dict().items()}, torch.get_rng_state()
    measured = auto.measure_net(alone, net, Learning(), 43, 4)
    assert measured.step > 0
    assert torch.equal(drawn, torch.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_settings_of_comm() -> None:
    assert load_config(None).comm == Comm("auto")
    assert load_config(None, ["comm=local", "comm.every=7"]).comm == Comm("local", 7)
    assert load_config(None, ["comm.every=7", "comm=local"]).comm == Comm("local", 7)
    for text, words in (
        ("comm=alreduce", "comm.strategy 'alreduce': .*did you mean allreduce"),
        ("comm.evry=3", "unknown key comm.evry; did you mean comm.every"),
        ("comm.every=0", "comm.every 0"),
        ("comm.momentum=1", "comm.momentum 1"),
        ("comm.patience_s=0", "comm.patience_s 0"),
        ("comm.patience_s=1e15", "comm.patience_s .1e15"),
    ):
        with pytest.raises(UserError, match=words):
            load_config(None, [text])


def test_a_run_ends_where_all_are_together() -> None:
    config = load_config(None, ["stages=[{name: a, lines: 100, batch: 10}, {name: b, lines: 100, batch: 10}]"])
    parts = legs(config, 48)
    every_three = Chosen("local", 3)
    growing = Chosen("local", 6, ramp=4)
    assert [step for step in range(1, 50) if growing.meets(step)] == [
        *range(1, 9),
        *range(10, 17, 2),
        20,
        24,
        28,
        36,
        42,
        48,
    ]
    assert [every_three.next(step, parts) for step in (1, 3, 4, 10, 11, 20, 21)] == [3, 3, 6, 10, 12, 20, 21]
    assert [Chosen().next(step, parts) for step in (1, 10, 25)] == [1, 10, 25]


def test_two_processes_come_to_the_same_numbers(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *TWO, str(ROOT / "tests" / "comm_rank.py")],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert sorted(done.stdout.split()) == ["all", "all", "well", "well"]


MORE = CONFIG.replace("lines: 72", "lines: 144")  # 24 steps
LOCAL = (
    "--set",
    "comm=local",
    "--set",
    "comm.every=3",
    "--set",
    "comm.ramp=0",
    "--set",
    "comm.momentum=0.5",
    "--set",
    "keep.every=1000",
)


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not what() and process.poll() is None:
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def pair(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[str]]:
    """A run of two processes, as a cluster's own launcher would start them."""
    words = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    started = []
    for rank in range(2):
        with monkeypatch.context() as patch:
            for name, word in {**words, "RANK": rank, "LOCAL_RANK": rank}.items():
                patch.setenv(name, str(word))
            started.append(start(arguments))
    return started


def test_stopped_lost_and_gone_on_is_the_same_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps apart, momentum, and checkpoints only where a signal or the end of a stage brings them."""
    out, straight = tmp_path / "run", tmp_path / "straight"
    arguments = [*flags(tmp_path, config=MORE), *LOCAL, "--set", "comm.patience_s=15"]

    first, second = pair(arguments, monkeypatch)
    wait_for(lambda: len(steps(out)) >= 3, first)
    second.send_signal(signal.SIGTERM)  # this one alone: the other must learn of it
    text, _ = first.communicate(timeout=60)
    second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    stopped = int(re.findall(r"stopped and saved after step (\d+) of 24", text)[0])
    values = checkpoint.load(out / "last.pt")
    assert values["step"] == stopped == len(steps(out)) < 24
    assert stopped % 3 == 0
    assert not torch.equal(*values["comm"]["moments"])

    first, second = pair(arguments, monkeypatch)
    wait_for(lambda: len(steps(out)) > stopped, first)
    second.send_signal(signal.SIGSTOP)
    text, _ = first.communicate(timeout=60)
    second.kill()
    second.communicate()
    assert first.returncode == 1
    told = re.findall(r"python -m train: rank 0 lost touch with the others at step \d+, .*", text)
    assert len(told) == 1, text
    assert re.search(r"[Tt]imed out.*the others are rank 1 \(.+\), the master is 127.0.0.1:\d+", told[0]), told

    saved = checkpoint.load(out / "last.pt")["step"]
    for folder, words in ((out, f"going on from step {saved} of 24"), (straight, "24 steps of 12 lines")):
        arguments[arguments.index("--out") + 1] = str(folder)
        first, second = pair(arguments, monkeypatch)
        text, _ = first.communicate(timeout=120)
        other, _ = second.communicate(timeout=120)
        assert (first.returncode, second.returncode) == (0, 0), text + other
        assert words in text
    assert_equal(out / "last.pt", straight / "last.pt")
    assert [values["loss"] for values in steps(out)] == [values["loss"] for values in steps(straight)]
    assert [values["step"] for values in steps(out)] == list(range(1, 25))


def test_a_bad_shard_between_two_synchronisations_takes_all_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two processes meets it; both make the steps since they last met again, without it, and none is lost."""
    folder = make_set(tmp_path / "set", {"train": 240}, shard_size=12)
    shard = sorted(folder.glob("train-*.tar"))[7]
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 255
    shard.write_bytes(bytes(data))
    charset = tmp_path / "shards.txt"
    charset.write_text("\n".join(CHARS.chars) + "\n", encoding="utf-8")
    config = CONFIG.replace(CONFIG[CONFIG.index("stages:") :], "stages: [{name: full, lines: 240, batch: 12}]")
    arguments = [*flags(tmp_path, data=str(folder), config=config), "--charset", str(charset), *LOCAL]
    first, second = pair([*arguments, "--set", "comm.every=20", "--skip-bad-shards", "1"], monkeypatch)
    text, _ = first.communicate(timeout=120)
    second.communicate(timeout=120)
    assert (first.returncode, second.returncode) == (0, 0), text
    assert [values["step"] for values in steps(tmp_path / "run")] == list(range(1, 21))
    assert checkpoint.load(tmp_path / "run" / "last.pt")["excluded"] == [[str(folder), shard.stem]]


SHORT = """
model: {widths: [16, 32, 64, 96], depths: [0, 1, 1, 1], dim: 64}
data: {workers: 0, val: 1000}
keep: {every: 1000, validate: 1000}
learning: {ema: 0.98}
stages:
  - {name: glyphs, lines: 7200, loss: frames, lr: 4.0e-3, batch: 24, warmup: 20, sets: &easy ["corpus.length.below=[9]", "layout.sizes=[25,31]"]}
  - {name: full, lines: 16800, lr: 3.0e-3, batch: 24, warmup: 20, sets: *easy}
"""


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["allreduce", "compress", "local"])
def test_forty_characters_are_learned_by_each_strategy(
    tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task of tests/test_train_learns.py on two processes: 2,000 lines that none of them has seen."""
    arguments = [*flags(tmp_path, config=SHORT), "--set", f"comm={strategy}", "--set", "comm.every=64"]
    first, second = pair(arguments, monkeypatch)
    text, _ = first.communicate(timeout=900)
    second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0), text
    report = tmp_path / "report.json"
    subprocess.run(
        [
            *(sys.executable, "-m", "train.evaluate", "--weight-path", str(tmp_path / "run" / "weights.pt")),
            *("--data", "gen:gen-default", "--fonts", *font_files(), "--num", "1000", "--json", str(report)),
            *("--set", "corpus.length.below=[9]", "--set", "layout.sizes=[25,31]"),
        ],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    result = json.loads(report.read_text(encoding="utf-8"))
    assert result["lines"] == 2000
    assert result["line_accuracy"] >= 0.9, result["line_accuracy"]
