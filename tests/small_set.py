"""A small recipe for the tests of shards: 43 characters, two fonts, images that cost little."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import pytest

from gen import cli, estimate, paths
from gen.charset import Charset
from gen.config import load_recipe
from gen.engine import Watch
from gen.fonts import fonts_from
from gen.identity import identity_of
from gen.plan import ShardTask
from gen.sample import Recipe, RecipeSource, open_recipe
from gen.shard import run_task
from gen.store import Store

ROOT = Path(__file__).parent.parent
CHARS = "一二三四五六七八九十人大天文字好的是不了中国上下0123456789abXY，。！（）"


def font_files() -> list[str]:
    """The two fonts that come from pip."""
    spec = importlib.util.find_spec("pylopdf_fonts_zh_cn")
    assert spec is not None
    assert spec.submodule_search_locations
    return sorted(str(path) for path in Path(next(iter(spec.submodule_search_locations))).glob("*.otf"))


@lru_cache(maxsize=8)
def source(*sets: str) -> RecipeSource:
    """The small recipe with ``--set`` values."""
    return RecipeSource(load_recipe(None, sets), Charset(CHARS), tuple(fonts_from(font_files())), (), paths.cache_dir())


@lru_cache(maxsize=8)
def recipe(*sets: str) -> Recipe:
    """The same, opened."""
    return open_recipe(source(*sets), 1)


def task(count: int = 20, start: int = 0, direction: str = "horizontal", split: str = "train") -> ShardTask:
    """A shard of the small recipe."""
    return ShardTask(direction, split, 0, start, count, identity_of(recipe().identity_parts()))


def flags(folder: Path) -> list[str]:
    """The small recipe for the command line, in shards of 50."""
    charset = folder / "charset.txt"
    if not charset.exists():
        charset.write_text("\n".join(CHARS) + "\n", encoding="utf-8")
    return ["--charset", str(charset), "--fonts", *font_files(), "--shard-size", "50", "--workers", "2"]


def start(arguments: Sequence[str], **options: object) -> subprocess.Popen[str]:
    """``python -m gen`` as a process of its own, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "gen", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        start_new_session=True,
        **options,  # type: ignore[call-overload]
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every visible file under a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def drafts(folder: Path) -> list[str]:
    """Temporary files that were left."""
    return [path.name for path in folder.rglob(".*") if path.name.endswith(".tmp")]


class Inline:
    """An engine without processes, for tests of all that is not about them."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, source: RecipeSource, tasks: Sequence[ShardTask], store: Store, watch: Watch) -> None:
        for each in tasks:
            watch.done(run_task(source, each, store))


def command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """``python -m gen --out folder/out`` with the small recipe, inside this process; call it with more flags."""
    monkeypatch.setattr(estimate, "_SECONDS", 0.005)
    monkeypatch.setattr(cli, "LocalEngine", Inline)

    def run(*more: str, out: str = "out") -> int:
        return cli.main(["--out", str(folder / out), *flags(folder), *more])

    return run


def refused(capsys: pytest.CaptureFixture[str], *parts: str) -> None:
    """The one line on stderr has all these parts."""
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("python -m gen: ")
    assert "Traceback" not in captured.err
    for part in parts:
        assert part in captured.err, captured.err
    assert captured.out == ""
