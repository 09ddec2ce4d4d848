"""What a set of shards as a whole should be: its directions, their manifests, its recipe.json.

python -m tools.verify shards
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gen.contract import (
    DIRECTIONS,
    ELSEWHERE,
    MANIFEST,
    RECIPE,
    SHARD_FILE,
    SPLITS,
    Manifest,
    ShardEntry,
    shard_name,
)
from gen.dataset import Held
from gen.errors import UserError
from gen.identity import identity_of
from gen.store import Store, open_store


@dataclass(frozen=True)
class Shard:
    """What a shard ought to be, by its manifest."""

    store: Store
    inside: str  # what comes before the names of its files: "horizontal/", or "" in one direction's directory
    direction: str
    split: str
    start: int
    identity: str
    image: str
    entry: ShardEntry

    @property
    def label(self) -> str:
        return f"{self.direction}/{self.entry.name}"


def open_folders(place: str) -> tuple[Store, list[str]]:
    """The directions' directories in a place; "" for the place itself. Raises `UserError` when there are none."""
    if "://" not in place and not Path(place).is_dir():
        raise UserError(f"{place} is not a directory: give what --out was")
    store = open_store(place)
    if any(name == MANIFEST or SHARD_FILE.fullmatch(name) for name in store.names("")):
        return store, [""]
    folders = [direction for direction in DIRECTIONS if store.names(direction)]
    if not folders:
        raise UserError(f"{store} holds no shards: give what --out was, or one direction's directory in it")
    return store, folders


def absent(store: Store, folders: Sequence[str]) -> list[str]:
    """What a whole set lacks by its recipe.json; nothing for a direction's directory on its own."""
    if list(folders) == [""]:
        return []
    try:
        data = store.read(RECIPE)
        if data is None:
            raise ValueError("it is not there")
        held = Held.parse(data)
    except (OSError, ValueError) as error:
        return [f"{store}/{RECIPE} cannot be used: {error}"]
    return [f"{store}/{way} is not there, though {RECIPE} lists it" for way in held.counts if way not in folders]


def read_folder(place: str, store: Store, folder: str) -> tuple[list[Shard], str, list[str]]:
    """A direction's shards by its manifest, the charset, and what is wrong with the folder as a whole."""
    name, inside = (f"{store}/{folder}", f"{folder}/") if folder else (f"{store}", "")
    try:
        data = store.read(f"{inside}{MANIFEST}")
        if data is None:
            return [], "", [f"{name}: no {MANIFEST}, so the set is not complete; give the generating command again"]
        manifest = Manifest.parse(data)
    except (OSError, ValueError) as error:
        return [], "", [f"{name}/{MANIFEST}: {error}"]
    problems = []
    if identity_of(manifest.recipe) != manifest.identity:
        problems.append("the identity is not that of the recipe")
    if hashlib.sha256(("\n".join(manifest.charset) + "\n").encode()).hexdigest() != manifest.charset_sha256:
        problems.append("the charset has another sha256")
    if manifest.direction not in DIRECTIONS or set(manifest.splits) != set(SPLITS):
        problems.append("unknown direction or splits")
    shards = []
    for split, entries in manifest.splits.items():
        start = 0
        for number, entry in enumerate(entries):
            if entry.name != shard_name(split, number) and manifest.image != ELSEWHERE:
                problems.append(f"shard {number} of {split} is called {entry.name}")
            shards.append(
                Shard(store, inside, manifest.direction, split, start, manifest.identity, manifest.image, entry)
            )
            start += entry.count
    listed = {f"{shard.entry.name}.{kind}" for shard in shards for kind in ("tar", "json")}
    extra = [file for file in store.names(folder) if SHARD_FILE.fullmatch(file) and file not in listed]
    if extra:
        problems.append(f"{len(extra)} shard files are not in it: {', '.join(extra[:3])}")
    problems += _against_recipe(store if folder else open_store(_parent(place)), manifest)
    return shards, manifest.charset, [f"{name}/{MANIFEST}: {problem}" for problem in problems]


def _against_recipe(store: Store, manifest: Manifest) -> list[str]:
    """Whether the set's recipe.json, if it is there, says the same as a direction's manifest."""
    path = f"{store}/{RECIPE}"
    try:
        data = store.read(RECIPE)
        if data is None:
            return []  # a direction may be copied elsewhere alone
        held = Held.parse(data)
    except (OSError, ValueError) as error:
        return [f"{path} cannot be used: {error}"]
    counts = {split: sum(entry.count for entry in entries) for split, entries in manifest.splits.items()}
    if held.identity != manifest.identity or held.charset != manifest.charset:
        return [f"{path} is of another recipe"]
    if held.counts.get(manifest.direction) != counts:
        return [f"{path} is for {held.counts.get(manifest.direction)}, the manifest for {counts}"]
    return []


def _parent(place: str) -> str:
    """The directory that one is in."""
    return place.rstrip("/").rpartition("/")[0] if "://" in place else str(Path(place).absolute().parent)
