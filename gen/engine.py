"""Runs shard tasks. `LocalEngine` does so in processes of this machine; other engines are siblings with the same `run`.

The workers are plain processes with a pipe each rather than a `ProcessPoolExecutor`: when one of its workers dies, an
executor ends all the others and loses their shards, cannot say whose task it was, and its shared queue locks may stay
held by the dead. Here a death costs one shard, which another worker makes again. A single worker is a process too, so
that stopping and dying are the same for every number of workers.

    python -m gen --out shards --n 20k --workers 2
"""

from __future__ import annotations

import multiprocessing
import signal
import time
import traceback
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Protocol

from gen.errors import UserError
from gen.plan import ShardTask
from gen.process import as_worker
from gen.sample import RecipeSource
from gen.shard import ShardRecord, run_task
from gen.store import Store

DEATHS = 3  # of workers on one shard, before it is given up
_REPORT_SECONDS = 0.1


class Watch(Protocol):
    """Hears how a run goes."""

    def live(self, images: int) -> None: ...  # made so far in shards that are not finished
    def done(self, record: ShardRecord) -> None: ...


class Engine(Protocol):
    """Runs every task once to success, in any order; raises `UserError` when one cannot be."""

    def run(self, source: RecipeSource, tasks: Sequence[ShardTask], store: Store, watch: Watch) -> None: ...


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    task: ShardTask
    live: int = 0


class LocalEngine:
    """``workers`` processes of this machine, each making one shard at a time."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, source: RecipeSource, tasks: Sequence[ShardTask], store: Store, watch: Watch) -> None:
        """Make every shard. Whatever ends this early, an interrupt included, ends the workers and removes drafts."""
        waiting = deque(tasks)
        deaths: Counter[str] = Counter()
        crew: dict[Connection, _Worker] = {}
        try:
            while waiting or crew:
                while waiting and len(crew) < self.workers:
                    worker = _hire(source, store, waiting.popleft())
                    crew[worker.pipe] = worker
                for pipe in connection.wait(list(crew)):
                    assert isinstance(pipe, Connection)
                    worker = crew[pipe]
                    message = _receive(pipe)
                    if message is None:
                        del crew[pipe]
                        _bury(worker, deaths, store)
                        waiting.appendleft(worker.task)
                    elif _hear(message, worker, store, watch):
                        worker.live = 0
                        if waiting:
                            worker.task = waiting.popleft()
                            with suppress(OSError):  # dead already: the next receive says so
                                pipe.send(worker.task)
                        else:
                            del crew[pipe]
                            pipe.close()  # the worker sees the end of the pipe and leaves
                            worker.process.join()
                watch.live(sum(worker.live for worker in crew.values()))
        finally:
            for worker in crew.values():
                worker.process.kill()
            for worker in crew.values():
                worker.process.join()
            store.sweep({name for worker in crew.values() for name in (worker.task.tar, worker.task.sidecar)})


def _hire(source: RecipeSource, store: Store, task: ShardTask) -> _Worker:
    """Start a worker on its first task."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, source, store, task), daemon=True)
    resource_tracker.ensure_running()  # its own start would undo the mask below
    # Ctrl-C reaches every process of the terminal. Blocked while the worker starts (it inherits the mask), it is not
    # lost on us, and the worker never sees it, not even in the middle of its imports.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()  # so that the death of the worker ends the pipe
    return _Worker(process, ours, task)


def _receive(pipe: Connection) -> tuple[str, object] | None:
    """What a worker says; None when it died."""
    try:
        message: tuple[str, object] = pipe.recv()
    except (EOFError, OSError):
        return None
    return message


def _hear(message: tuple[str, object], worker: _Worker, store: Store, watch: Watch) -> bool:
    """Act on what a worker says; True when its shard is done. Raises what must stop the run."""
    kind, value = message
    if kind == "live":
        assert isinstance(value, int)
        worker.live = value
        return False
    if kind == "done":
        assert isinstance(value, ShardRecord)
        watch.done(value)
        return True
    if kind == "user":
        raise UserError(str(value))
    if kind == "store":
        raise not_written(worker.task, store, value)
    raise RuntimeError(f"shard {worker.task.direction}/{worker.task.name} failed:\n{value}")


def not_written(task: ShardTask, store: Store, reason: object) -> UserError:
    """The error when a store fails."""
    if isinstance(reason, OSError):
        reason = reason.strerror or reason
    return UserError(
        f"shard {task.direction}/{task.name} could not be written in {store}: {reason}; "
        "finished shards are intact, and the same command goes on from them"
    )


def _bury(worker: _Worker, deaths: Counter[str], store: Store) -> None:
    """Clean up after a dead worker. Raises `UserError` when its shard has cost too many."""
    worker.process.join()
    code = worker.process.exitcode
    worker.pipe.close()
    store.sweep({worker.task.tar, worker.task.sidecar})
    deaths[worker.task.tar] += 1
    if deaths[worker.task.tar] >= DEATHS:
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        raise UserError(
            f"shard {worker.task.direction}/{worker.task.name}: {DEATHS} workers died making it, the last {how}; "
            "if memory ran out, give fewer --workers; the same command goes on from the finished shards"
        )


def _work(pipe: Connection, source: RecipeSource, store: Store, task: ShardTask) -> None:
    """The life of a worker: make a shard, say so, take the next, until the parent closes the pipe or dies."""
    as_worker()
    last = 0.0

    def progress(count: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _REPORT_SECONDS:
            last = now
            pipe.send(("live", count))

    message: tuple[str, object]
    try:
        while True:
            try:
                message = ("done", run_task(source, task, store, progress))
            except UserError as error:
                message = ("user", str(error))
            except OSError as error:
                message = ("store", error.strerror or str(error))
            except Exception:
                message = ("bug", traceback.format_exc())
            pipe.send(message)
            task = pipe.recv()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
