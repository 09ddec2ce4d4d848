"""One directory of shards over its life: begun, resumed, grown, replaced, and summed up in manifests.

``recipe.json`` at its top says which recipe and which numbers the directory is for; a sidecar says that a shard is
there; a manifest says that a direction is complete. Everything here can be repeated after being killed anywhere.

    python -m gen --out shards --finish
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from gen.contents import committed, remove_set, set_bytes, sizes_of
from gen.contract import DIRECTIONS, FORMAT, MANIFEST, RECIPE, SHARD_FILE, SPLITS, Manifest, document
from gen.errors import UserError
from gen.identity import differences, identity_of
from gen.plan import Counts, Plan, ShardTask
from gen.store import Busy, Store, publish

_WAIT = 60.0  # seconds for another slice to write recipe.json or the manifests


@dataclass(frozen=True)
class Held:
    """What a directory is for: the contents of its ``recipe.json``."""

    recipe: Mapping[str, Any]  # the identity parts
    charset: str
    charset_sha256: str
    image: str
    shard_size: int
    counts: Counts

    @property
    def identity(self) -> str:
        return identity_of(self.recipe)

    @property
    def plan(self) -> Plan:
        """Every shard that the directory is to hold."""
        return Plan(self.counts, self.shard_size, self.identity)

    def to_json(self) -> bytes:
        """The file ``recipe.json``."""
        return document(
            {
                "format": FORMAT,
                "identity": self.identity,
                "n": self.plan.train,
                "shard_size": self.shard_size,
                "image": self.image,
                "directions": {name: dict(self.counts[name]) for name in DIRECTIONS if name in self.counts},
                "recipe": self.recipe,
                "charset": {"sha256": self.charset_sha256, "characters": self.charset},
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Held:
        """The inverse of `to_json`. Raises ValueError."""
        try:
            values = json.loads(data)
            if not isinstance(values, dict):
                raise ValueError("it is not a JSON object")
            if values["format"] != FORMAT:
                raise ValueError(f"it is of format {values['format']}, this version writes {FORMAT}")
            if not isinstance(values["shard_size"], int) or values["shard_size"] < 1:
                raise ValueError(f"its shard_size is {values['shard_size']!r}")
            counts = {
                name: {split: int(count[split]) for split in SPLITS} for name, count in values["directions"].items()
            }
            charset = values["charset"]
            held = cls(
                values["recipe"],
                charset["characters"],
                charset["sha256"],
                values["image"],
                values["shard_size"],
                counts,
            )
            if held.identity != values["identity"]:
                raise ValueError("its identity is not that of the recipe in it")
            return held
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it lacks {error}") from None

    def with_counts(self, counts: Counts) -> Held:
        """The same recipe, for more directions or samples."""
        return Held(
            self.recipe, self.charset, self.charset_sha256, self.image, self.shard_size, {**self.counts, **counts}
        )


def read_held(store: Store) -> Held | None:
    """What the directory is for, None for a new one. Raises `UserError` when that cannot be said."""
    data = store.read(RECIPE)
    if data is None:
        if any(SHARD_FILE.fullmatch(name) for folder in DIRECTIONS for name in store.names(folder)):
            raise UserError(f"{store} holds shards but no {RECIPE}, so what made them is unknown: {_REMEDY}")
        return None
    try:
        return Held.parse(data)
    except ValueError as error:
        raise UserError(f"{store}/{RECIPE} cannot be used: {error}; {_REMEDY}") from None


_REMEDY = "give another --out, or --overwrite to replace the set"


def begin(store: Store, wanted: Held, overwrite: bool) -> tuple[Held, bool]:
    """What the directory will be for, and whether what it holds must go first. Changes nothing.

    Raises `UserError` when another recipe made it, or when it holds more than is wanted, unless ``overwrite``.
    """
    try:
        held = read_held(store)
    except UserError:
        if overwrite:
            return wanted, True
        raise
    if held is None:
        return wanted, False
    if held.identity != wanted.identity:
        if overwrite:
            return wanted, True
        raise UserError(f"{store} was made by another recipe: {differences(held.recipe, wanted.recipe)}; {_REMEDY}")
    for direction, count in wanted.counts.items():
        before = held.counts.get(direction, {"train": 0})["train"]
        if before > count["train"]:
            if overwrite:
                return wanted, True
            raise UserError(
                f"{store} is a set of {before} {direction} training images, and this would leave {count['train']}: "
                f"a set only grows; give a larger --n, or {_REMEDY.removeprefix('give ')}"
            )
    return held.with_counts(wanted.counts), False


@contextmanager
def prepared(
    store: Store, wanted: Held, overwrite: bool, part: tuple[int, int], approve: Callable[[list[ShardTask], int], None]
) -> Iterator[list[ShardTask]]:
    """Hold the lock of slice ``part`` and the directory ready for it; the tasks that are still to be done.

    ``approve`` sees the tasks, and the bytes that will be freed, before anything changes, and may raise. Raises
    `UserError` as `begin` does, and when the same slice, or one of another plan, is running.
    """
    with ExitStack() as stack:
        with _setting_up(store):
            try:
                stack.enter_context(store.lock(f"slice-{part[0]}-of-{part[1]}"))
            except Busy:
                what = f"slice {part[0]}/{part[1]} of {store}" if part[1] > 1 else str(store)
                raise UserError(f"another run is making {what}: wait for it, or stop it") from None
            future, replace = begin(store, wanted, overwrite)
            if replace and part[1] > 1 and not store.guarded:
                raise UserError(
                    f"the set in {store} cannot be replaced by slices, which might remove what others have made: "
                    "delete it first, or give another --out"
                )
            _check_neighbours(store, future, replace, part)
            tasks = future.plan.slice(*part)
            store.sweep({name for task in tasks for name in (task.tar, task.sidecar)})
            todo = todo_of(store, wanted, tasks, replace)
            approve(todo, set_bytes(store) if replace else 0)
            if replace:
                remove_set(store)
            data = future.to_json()
            grown = store.read(RECIPE) != data
            for direction in DIRECTIONS if grown else {task.direction for task in todo}:
                store.remove(f"{direction}/{MANIFEST}")  # before anything that it lists may change
            if grown:
                publish(store.create(RECIPE), data)
        yield todo


def todo_of(store: Store, wanted: Held, tasks: Sequence[ShardTask], replace: bool) -> list[ShardTask]:
    """Which of a slice's tasks are to be done: those of the wanted directions that are not done yet."""
    chosen = [task for task in tasks if task.direction in wanted.counts]
    if replace:
        return chosen
    done = committed(store, chosen)
    return [task for task in chosen if task not in done]


@contextmanager
def _setting_up(store: Store) -> Iterator[None]:
    """One process at a time looks at the whole directory and changes what all slices share."""
    try:
        with store.lock("set", _WAIT):
            yield
    except Busy:
        raise UserError(f"another run has kept {store} locked for {_WAIT:.0f} s: wait for it, or stop it") from None


def _check_neighbours(store: Store, future: Held, replace: bool, part: tuple[int, int]) -> None:
    """Refuse to run beside slices of another plan: they would make the same shards, or others under their names."""
    own = f"slice-{part[0]}-of-{part[1]}"
    for name in store.locked():
        if name in ("set", own):
            continue
        other = name.removeprefix("slice-").replace("-of-", "/")
        if not name.endswith(f"-of-{part[1]}"):
            raise UserError(f"slice {other} of {store} is running; run slices of the same number, or wait for it")
        if replace or store.read(RECIPE) != future.to_json():
            raise UserError(f"slice {other} of {store} is running for another --n or --direction: wait for it")


def finish(store: Store, held: Held) -> dict[str, list[str]]:
    """Write the manifest of every direction that is complete; the shards that the others lack."""
    missing = {}
    with _setting_up(store):
        store.sweep({f"{direction}/{MANIFEST}" for direction in DIRECTIONS})
        for direction in held.counts:
            tasks = held.plan.tasks([direction])
            sizes = sizes_of(store, [direction])
            lacking = [task.tar for task in tasks if task.tar not in sizes or task.sidecar not in sizes]
            if not lacking:  # only then is it worth while to read the sidecars
                done = committed(store, tasks)
                lacking = [task.tar for task in tasks if task not in done]
            if lacking:
                missing[direction] = lacking
                continue
            splits = {split: tuple(done[task] for task in tasks if task.split == split) for split in SPLITS}
            manifest = Manifest(
                direction, held.identity, held.recipe, held.charset, held.charset_sha256, held.image, splits
            )
            if store.read(f"{direction}/{MANIFEST}") != manifest.to_json():  # none yet, or a damaged one
                publish(store.create(f"{direction}/{MANIFEST}"), manifest.to_json())
    return missing
