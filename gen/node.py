"""A shard task on another machine, whose fonts, cache and versions are its own: found, checked, then made.

python -m pytest tests/test_gen_ray.py
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gen import paths
from gen.dataset import read_held
from gen.errors import UserError
from gen.fontfile import sha256_file
from gen.fonts import Font, catalogue
from gen.identity import differences, identity_of
from gen.plan import ShardTask
from gen.sample import RecipeSource
from gen.shard import ShardRecord, opened, run_task
from gen.store import Store


@dataclass(frozen=True)
class Job:
    """All that the machines of a run need to know."""

    source: RecipeSource
    store: Store
    parts: Mapping[str, Any]  # of the recipe's identity
    shared_cache: bool  # the cache folder of the source is one that all machines have


_ready: dict[str, RecipeSource] = {}  # by identity: the ingredients as this process has found them


def prepare(job: Job, workers: int = 1) -> RecipeSource:
    """The ingredients as they are on this machine, the glyphs drawn by ``workers`` processes where they are missing.

    Raises `UserError`, with this machine's name, when it lacks something or would make other bytes.
    """
    identity = identity_of(job.parts)
    if identity not in _ready:
        try:
            _ready[identity] = _prepare(job, identity, workers)
        except UserError as error:
            raise UserError(f"on {platform.node()}: {error}") from None
    return _ready[identity]


def make(job: Job, task: ShardTask) -> ShardRecord | UserError:
    """Make a shard. What the user can mend is returned, and not raised: to try again is of no use."""
    try:
        return run_task(prepare(job), task, job.store)
    except UserError as error:
        return error


def _prepare(job: Job, identity: str, workers: int) -> RecipeSource:
    held = read_held(job.store)
    if held is None or held.identity != identity:
        raise UserError(
            f"{job.store} is not the folder that it is where the run was started: "
            "give --out a folder that all machines have, or s3://BUCKET/PREFIX"
        )
    fonts = tuple(_find(font) for font in job.source.fonts)
    source = replace(job.source, fonts=fonts, cache=job.source.cache if job.shared_cache else paths.cache_dir())
    recipe = opened(source, workers)
    if identity_of(recipe.identity_parts()) != identity:
        raise UserError(
            f"it would make other images, for here are other versions ('there' is where the run was started): "
            f"{differences(job.parts, recipe.identity_parts())}; install the same on all machines"
        )
    return source


def _find(font: Font) -> Font:
    """The same font here: at the same path, or where this machine has the catalogue's. Raises `UserError`."""
    own = [path for entry in catalogue() if entry.name == font.name and (path := entry.path())]
    for path in (font.path, *own):
        if _is_there(path) and sha256_file(path) == font.sha256:
            return replace(font, path=path)
    raise UserError(
        f"the font {font.name} ({font.path.name}, sha256 {font.sha256[:12]}…) is missing: run "
        "python -m tools.fetch_fonts there, or give --fonts a folder that all machines have"
    )


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
