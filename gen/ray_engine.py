"""Shards made by a Ray cluster: `RayEngine` is a sibling of `gen.engine.LocalEngine`, over the same shard task.

    python -m gen --engine ray --address auto --out s3://bucket/prefix --n 10M

First each node draws the glyphs that its cache lacks, once; one that joins later does so with its first shard. Ray
gives the tasks of dead workers and nodes to others. Only the small record of a shard comes back.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from gen import node
from gen.command import STOPPING, say
from gen.engine import Watch, not_written
from gen.errors import UserError
from gen.plan import ShardTask
from gen.sample import RecipeSource, open_recipe
from gen.shard import ShardRecord
from gen.store import LocalStore, Store

RETRIES = 3  # of a shard whose worker or node dies, or that the store fails
_POLL_SECONDS = 0.1
_KNOCK_SECONDS = 10.0
_END_SECONDS = 10.0  # for workers to end


class RayEngine:
    """``address``: of the cluster; "auto": the one of this machine; None: the same, or else a new one for this run.
    ``most``: shards at a time, None: as many as the cluster can take."""

    def __init__(self, address: str | None, most: int | None = None) -> None:
        self._ray = _import()
        self.address, self.most = address, most

    def run(self, source: RecipeSource, tasks: Sequence[ShardTask], store: Store, watch: Watch) -> None:
        """Make every shard. Whatever ends this early ends the tasks of the cluster, and removes drafts."""
        if not tasks:
            return
        shared = bool(os.environ.get("CRNN_SHARDS_CACHE"))
        job = node.Job(_absolute(source), _absolute_store(store), open_recipe(source).identity_parts(), shared)
        with self._connected():
            waiting, flying = deque(tasks), dict[Any, ShardTask]()
            try:
                ref = self._ray.put(job)
                self._prepare_nodes(ref)
                make = self._remote(node.make, num_cpus=1, retry_exceptions=[OSError], scheduling_strategy="SPREAD")
                while waiting or flying:
                    room = self._room()
                    while waiting and len(flying) < room:
                        task = waiting.popleft()
                        flying[make.remote(ref, task)] = task
                    for each in self._ended(flying):
                        task = flying.pop(each)
                        watch.done(self._record(each, task, store))
                    watch.live(0)
            finally:
                for each in flying:
                    self._ray.cancel(each, force=True)
                if flying:
                    self._ray.wait(list(flying), num_returns=len(flying), timeout=_END_SECONDS, fetch_local=False)
                store.sweep({name for task in tasks for name in (task.tar, task.sidecar)})

    def _remote(self, function: Any, **options: Any) -> Any:
        return self._ray.remote(max_retries=RETRIES, **options)(function)

    def _room(self) -> int:
        """Tasks that may be on their way: two for each processor there is at the moment."""
        room = 2 * int(self._ray.cluster_resources().get("CPU", 0))
        return max(1, room if self.most is None else min(room, self.most))

    def _ended(self, flying: dict[Any, ShardTask]) -> list[Any]:
        """Tasks that have ended; none after a moment. Sleeping is ours, for Ray would swallow which signal came."""
        done, _ = self._ray.wait(list(flying), num_returns=len(flying), timeout=0, fetch_local=False)
        if not done:
            time.sleep(_POLL_SECONDS)
        return list(done)

    def _prepare_nodes(self, ref: Any) -> None:
        """Let every node draw its glyphs, and say what it lacks. One that dies meanwhile does not matter."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        prepare = self._remote(_prepare, num_cpus=0, retry_exceptions=[OSError])
        flying = {}
        for each in self._ray.nodes():
            workers = int(each["Resources"].get("CPU", 0))
            if each["Alive"] and workers:
                on = NodeAffinitySchedulingStrategy(each["NodeID"], soft=False)
                flying[prepare.options(scheduling_strategy=on).remote(ref, workers)] = each["NodeID"]
        if not flying:
            say("python -m gen: the cluster has no processors at the moment; waiting for some")
        while flying:
            for each in self._ended(flying):
                del flying[each]
                try:
                    problem = self._ray.get(each)
                except self._ray.exceptions.RayTaskError as error:
                    raise _failed("drawing glyphs", error) from None
                except self._ray.exceptions.RayError:
                    continue
                if problem:
                    raise UserError(problem)

    def _record(self, ref: Any, task: ShardTask, store: Store) -> ShardRecord:
        """What came of a task. Raises what must stop the run."""
        name = f"shard {task.direction}/{task.name}"
        try:
            found: ShardRecord | UserError = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, OSError):
                raise not_written(task, store, error.cause) from None
            raise _failed(name, error) from None
        except self._ray.exceptions.RayError as error:
            raise UserError(
                f"{name}: {RETRIES + 1} workers died making it ({type(error).__name__}); if memory ran out, give the "
                "nodes fewer processors; the same command goes on from the finished shards"
            ) from None
        if isinstance(found, UserError):
            raise found
        return found

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Be a driver of the cluster meanwhile, unless the process already is one."""
        if self._ray.is_initialized():
            yield
            return
        before = {number: signal.getsignal(number) for number in STOPPING}
        try:
            _knock(self.address)
            self._ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            told = " ".join(f"{error}".split()).partition(". ")[0]
            raise UserError(
                f"--address {self.address}: {told}; start a cluster with ray start --head, and python -m gen on it"
            ) from None
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():  # Ray has put its own in their place
                    signal.signal(number, handler)
        try:
            yield
        finally:
            self._ray.shutdown()


def _prepare(job: node.Job, workers: int) -> str | None:
    """On a node: what stands against it."""
    try:
        node.prepare(job, workers)
    except UserError as error:
        return str(error)
    return None


def _failed(what: str, error: Exception) -> Exception:
    """The error for a bug in a task, or for a node without this program."""
    if "No module named 'gen" in str(error):
        return UserError("a node of the cluster lacks this program: pip install crnn-shards there, the same as here")
    return RuntimeError(f"{what} failed:\n{error}")


def _knock(address: str | None) -> None:
    """See whether somebody listens at HOST:PORT: Ray would try for ten minutes. Raises OSError."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_SECONDS).close()


def _import() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere unless the user says so
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray needs Ray: pip install 'crnn-shards[ray]', on every machine") from None
    return ray


def _absolute(source: RecipeSource) -> RecipeSource:
    """The same, whatever the working directory."""
    fonts = tuple(replace(font, path=font.path.absolute()) for font in source.fonts)
    return replace(source, fonts=fonts, corpus=tuple(path.absolute() for path in source.corpus))


def _absolute_store(store: Store) -> Store:
    return replace(store, root=os.path.abspath(store.root)) if isinstance(store, LocalStore) else store
