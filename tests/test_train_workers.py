"""The loader's workers: what goes wrong in them comes out by name, and they live and end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import shard_set
import torch
from train_sources import CHARS, MemorySource, memory

from gen.charset import Charset
from gen.errors import UserError
from train.codec import Codec
from train.data import loader
from train.image import ImageSpec
from train.plan import Plan
from train.shards import BadShard, open_source
from train.source import Item

ROOT = Path(__file__).parent.parent
CODEC = Codec(Charset(CHARS))
SPEC = ImageSpec()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_user_can_mend_comes_out_as_it_is(workers: int) -> None:
    source = memory(400, name="h")
    plan = Plan([source], [1], seed=3, batch=24, window=10)
    source.bad = int(plan.batch(12)[5, 1])
    with pytest.raises(UserError) as caught:
        list(loader([source], plan, 0, 1, 7, 17, CODEC, SPEC, workers))
    assert str(caught.value) == f"h: sample {source.bad} cannot be read"
    steps = loader([source], plan, 0, 1, 7, 17, CODEC, SPEC, workers)
    assert len([next(steps) for _ in range(5)]) == 5  # those before come
    with pytest.raises(UserError, match="cannot be read"):
        next(steps)
    assert multiprocessing.active_children() == []  # although the errors, and so the frames, are still held


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_shard_is_named(tmp_path: Path, workers: int) -> None:
    folder = shard_set.make_set(tmp_path, {"train": 60})
    tar = folder / "train-000001.tar"
    data = bytearray(tar.read_bytes())
    data[2000] ^= 1
    tar.write_bytes(data)
    source = open_source(str(folder), "train")
    plan = Plan([source], [1], seed=1, batch=12)
    with pytest.raises(BadShard) as caught:
        list(loader([source], plan, 0, 1, 0, 5, Codec(source.charset), SPEC, workers))
    assert caught.value.shard == "train-000001"
    assert caught.value.source == str(folder)


class Deadly(MemorySource):
    """Whoever reads from it is gone, as when memory runs out."""

    def read(self, ids: Any) -> list[Item]:
        os.kill(os.getpid(), signal.SIGKILL)
        return []


def test_a_killed_worker_is_reported() -> None:
    source = Deadly(memory(100).blocks)
    plan = Plan([source], [1], seed=1, batch=12)
    with pytest.raises(UserError, match=r"^DataLoader worker .* fewer workers"):
        next(loader([source], plan, 0, 1, 0, 5, CODEC, SPEC, 1))


TRAINING = """
import signal, sys, time
from train_sources import CHARS, memory
from gen.charset import Charset
from train.codec import Codec
from train.data import loader
from train.image import ImageSpec
from train.plan import Plan

stopped = []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: stopped.append(1))
source = memory(1000)
steps = loader([source], Plan([source], [1], seed=3, batch=24), 0, 1, 0, 10**6, Codec(Charset(CHARS)), ImageSpec(), 2)
for count, _ in enumerate(steps):
    if count == 3:
        print("ready", flush=True)
    time.sleep(0.005)
    if len(stopped) == 2:
        break
print(sum(1 for _, _ in zip(range(30), steps)))  # and leaves with the loader open
"""


@pytest.fixture
def training() -> Iterator[subprocess.Popen[str]]:
    """A process that reads batches until it has seen two signals, and 30 more."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT)])}
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINING], stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    assert len(group(process.pid)) >= 4  # it, the server that forks, two workers
    yield process
    for pid in group(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def group(leader: int) -> list[int]:
    """Processes of a process group that run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader and fields[0] not in "ZX":
            found.append(int(stat.parent.name))
    return found


def gone(leader: int) -> bool:
    deadline = time.monotonic() + 20
    while group(leader) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not group(leader)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_signals_to_all_processes_leave_the_decision_to_the_parent(training: subprocess.Popen[str]) -> None:
    os.killpg(training.pid, signal.SIGTERM)
    os.killpg(training.pid, signal.SIGINT)
    assert training.communicate(timeout=30)[0] == "30\n"
    assert training.returncode == 0
    assert gone(training.pid)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_workers_do_not_outlive_a_killed_parent(training: subprocess.Popen[str]) -> None:
    training.kill()
    training.wait()
    assert gone(training.pid)
