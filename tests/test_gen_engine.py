"""Worker processes: any number gives the same bytes, and their deaths and failures are dealt with."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from small_set import Inline, contents, drafts, source, task

from gen.command import handled
from gen.engine import DEATHS, LocalEngine
from gen.errors import UserError
from gen.plan import Plan, ShardTask, share
from gen.shard import ShardRecord
from gen.store import LocalStore


class Notes:
    """A watch that keeps what it hears."""

    def __init__(self) -> None:
        self.records: list[ShardRecord] = []
        self.lives: list[int] = []

    def live(self, images: int) -> None:
        self.lives.append(images)

    def done(self, record: ShardRecord) -> None:
        self.records.append(record)


def tasks(n: int = 200, size: int = 40) -> list[ShardTask]:
    return Plan({"horizontal": share(n, ["horizontal"])["horizontal"]}, size, task().identity).tasks()


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path, workers: int) -> None:
    todo, notes = tasks(), Notes()
    Inline(1).run(source(), todo, LocalStore(str(tmp_path / "a")), Notes())
    LocalEngine(workers).run(source(), todo, LocalStore(str(tmp_path / "b")), notes)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert sorted(record.name for record in notes.records) == sorted(each.name for each in todo)
    assert sum(record.count for record in notes.records) == 400
    assert notes.lives[-1] == 0
    assert multiprocessing.active_children() == []


def test_progress_is_heard_within_a_shard(tmp_path: Path) -> None:
    notes = Notes()
    LocalEngine(1).run(source(), [task(4000)], LocalStore(str(tmp_path)), notes)
    assert any(0 < live < 4000 for live in notes.lives)
    assert notes.lives == [*sorted(notes.lives[:-1]), 0]


class Trouble(LocalStore):
    """A store that makes trouble in the worker when a certain shard begins."""

    def create(self, name: str) -> Any:
        if name == "horizontal/train-000002.tar":
            self.trouble()
        return super().create(name)

    def trouble(self) -> None:
        raise NotImplementedError


class Deadly(Trouble):
    def trouble(self) -> None:
        with open(os.path.join(self.root, "deaths"), "a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)


class DeadlyOnce(Deadly):
    def trouble(self) -> None:
        if not os.path.exists(os.path.join(self.root, "deaths")):
            super().trouble()


class Full(Trouble):
    def trouble(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Buggy(Trouble):
    def trouble(self) -> None:
        raise ZeroDivisionError("a bug")


class Refusing(Trouble):
    def trouble(self) -> None:
        raise UserError("the font is gone: bring it back")


def test_a_dead_worker_costs_nothing(tmp_path: Path) -> None:
    Inline(1).run(source(), tasks(), LocalStore(str(tmp_path / "a")), Notes())
    (tmp_path / "b").mkdir()
    LocalEngine(2).run(source(), tasks(), DeadlyOnce(str(tmp_path / "b")), Notes())
    (tmp_path / "b" / "deaths").unlink()
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_shard_that_kills_its_workers_is_given_up_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"horizontal/train-000002: 3 workers died .* killed by signal 9"):
        LocalEngine(1).run(source(), tasks(), Deadly(str(tmp_path)), Notes())
    assert (tmp_path / "deaths").read_text() == "x" * DEATHS
    assert {"horizontal/train-000000.json", "horizontal/train-000001.json"} <= contents(tmp_path).keys()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("store", "error", "message"),
    [
        (
            Full,
            UserError,
            r"horizontal/train-000002 could not be written in .*No space left.*finished shards are intact",
        ),
        (Buggy, RuntimeError, r"(?s)horizontal/train-000002 failed:.*in trouble.*ZeroDivisionError: a bug"),
        (Refusing, UserError, r"^the font is gone: bring it back$"),
    ],
)
def test_a_failure_stops_the_run(tmp_path: Path, store: type[Trouble], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        LocalEngine(2).run(source(), tasks(), store(str(tmp_path)), Notes())
    assert "horizontal/train-000002.tar" not in contents(tmp_path)
    assert drafts(tmp_path) == []
    assert multiprocessing.active_children() == []


def test_an_interrupt_ends_the_workers_and_leaves_no_drafts(tmp_path: Path) -> None:
    def interrupt() -> None:
        while not drafts(tmp_path):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    # A shell starts what runs in the background with SIGINT ignored; the tests may be such a thing.
    with handled(signal.default_int_handler), pytest.raises(KeyboardInterrupt):
        LocalEngine(2).run(source(), [task(900_000)], LocalStore(str(tmp_path)), Notes())
    thread.join()
    assert drafts(tmp_path) == []
    assert multiprocessing.active_children() == []
