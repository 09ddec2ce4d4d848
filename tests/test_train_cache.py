"""What came from a server is kept: shared by processes, verified, bounded, fetched ahead."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from served import N, read
from servers import Faulty

from gen.contract import Block
from gen.errors import UserError
from train.cache import BlockCache, Prefetcher, remote_place
from train.place import Unusable
from train.shards import ShardSource, open_source

pytestmark = pytest.mark.usefixtures("quick")


def test_cache_deletes_what_was_used_longest_ago(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path, 16_000, young=0)
    keys = [hashlib.sha256(bytes([k])).hexdigest() for k in range(40)]
    for k, key in enumerate(keys):
        assert cache.store(key, [b"x" * 400, b"y" * 600], lambda path: path.stat().st_size) == 1000
        os.utime(cache.path(key), (k, k))
        assert cache.has(keys[0])  # which is thereby the newest
        assert sum(path.stat().st_size for path in tmp_path.glob("??/*")) <= 16_000
    assert [k for k, key in enumerate(keys) if cache.has(key)] == [0, *range(26, 40)]
    fresh = BlockCache(tmp_path, 4_000)
    fresh.store(keys[1], [b"x" * 1000], lambda path: None)
    assert all(fresh.has(key) for key in (keys[0], keys[39]))  # too young to go
    with pytest.raises(UserError, match=r"larger than the whole cache .* 4,000 bytes: raise data\.cache_gb"):
        fresh.store(keys[2], [b"x" * 1000] * 5, lambda path: None)


def test_cache_forgets_what_killed_processes_left(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path, 1000)
    folder = tmp_path / "00"
    folder.mkdir()
    for name, age in ((".old.1.1.tmp", 4000), (".new.1.1.tmp", 10)):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (time.time() - age,) * 2)
    cache.store("1" * 64, [b"x"], lambda path: None)
    assert [path.name for path in folder.iterdir()] == [".new.1.1.tmp"]


def test_a_cache_that_rots_is_mended(root: Path, truth: list[bytes], tmp_path: Path) -> None:
    with Faulty(root) as server:
        read(f"{server.url}/horizontal", tmp_path)
        for path in tmp_path.glob("??/*"):
            path.write_bytes(path.read_bytes()[:-1] + b"x")
        assert read(f"{server.url}/horizontal", tmp_path)[1] == truth


def test_files_that_another_process_deletes_are_fetched_again(root: Path, truth: list[bytes], tmp_path: Path) -> None:
    with Faulty(root) as server:
        source = open_source(f"{server.url}/horizontal", "train", tmp_path)
        for k in range(N):
            for path in tmp_path.glob("??/*"):
                path.unlink()
            assert source.records([k]) == [truth[k]]
        assert server.count(".tar") == len(source.blocks)  # what is open can be read on


def test_a_tiny_cache_still_serves(
    root: Path, truth: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.shards._OPEN", 1)
    with Faulty(root) as server:
        place = remote_place(f"{server.url}/horizontal", tmp_path, 40_000)
        place.cache.young = 0
        source = open_source(f"{server.url}/horizontal", "train", tmp_path)
        source._place = place
        assert source.records(range(N)) == truth
        assert sum(path.stat().st_size for path in tmp_path.glob("??/*")) <= 40_000 * 1.1


def test_a_full_disk_is_not_the_shards_fault(root: Path, tmp_path: Path) -> None:
    with Faulty(root) as server:
        source = open_source(f"{server.url}/horizontal", "train", tmp_path)
        limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))"
        code = f"{limit}; import pickle, sys; pickle.load(sys.stdin.buffer).read([0])"
        done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(source), capture_output=True, timeout=60)
        message = done.stderr.decode().splitlines()[-1]
        assert message.startswith(f"gen.errors.UserError: cache {tmp_path}: File too large; make room")


def read_together(source: ShardSource, barrier: Barrier) -> None:
    barrier.wait(60)
    source.records(range(N))


def test_cache_is_shared_by_processes(root: Path, tmp_path: Path) -> None:
    def slow(path: str, before: int) -> str:
        time.sleep(0.05 * path.endswith(".tar"))
        return ""

    with Faulty(root, slow) as server:
        source = open_source(f"{server.url}/horizontal", "train", tmp_path)
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(2)
        worker = context.Process(target=read_together, args=(source, barrier))
        worker.start()
        read_together(source, barrier)
        worker.join(60)
        assert worker.exitcode == 0
        assert server.count(".tar") == len(source.blocks)


def test_a_killed_fetch_leaves_nothing_wrong(root: Path, truth: list[bytes], tmp_path: Path) -> None:
    kill = threading.Event()

    def spoil(path: str, before: int) -> str:
        if path.endswith("2.tar") and not kill.is_set():
            kill.set()
            return "stall"
        return ""

    with Faulty(root, spoil) as server:
        source = open_source(f"{server.url}/horizontal", "train", tmp_path)
        worker = multiprocessing.get_context("spawn").Process(target=source.records, args=(range(N),))
        worker.start()
        assert kill.wait(30)
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join(30)
        assert source.records(range(N)) == truth
        assert server.count("2.tar") == source._shard_of.count(2) + 1  # only what was on its way came twice


def test_prefetch_brings_blocks_once_and_in_order(root: Path, truth: list[bytes], tmp_path: Path) -> None:
    with Faulty(root) as server:
        source = open_source(f"{server.url}/horizontal", "train", tmp_path)
        blocks = list(range(len(source.blocks)))
        for _ in range(3):
            source.prefetch(blocks[::-1])
        deadline = time.monotonic() + 20
        while server.count(".tar") < len(blocks) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert source.records(range(N)) == truth
        assert server.count(".tar") == len(blocks)
        assert pickle.loads(pickle.dumps(source)).records([5]) == [truth[5]]
        source.prefetch(blocks)
        assert server.count(".tar") == len(blocks)


def test_prefetch_is_bounded_and_quiet() -> None:
    started: list[int] = []
    go = threading.Event()

    def fetch(shard: str, block: Block) -> None:
        started.append(block.first)
        go.wait(20)
        raise Unusable("broken")

    queue = Prefetcher(fetch)
    items = [("train-000000", Block(0, 10, k, 1, "")) for k in range(100)]
    queue.want(items, 75)
    queue.want(items, 75)
    deadline = time.monotonic() + 20
    while len(started) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(started) == [0, 1, 2, 3]
    go.set()
    while queue._threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(started) == [0, 1, 2, 3, 4, 5, 6]
