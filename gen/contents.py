"""What a store holds of a set, by its names and sidecars alone.

python -c "from gen import contents, store; print(contents.shard_files(store.open_store('shards')))"
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from gen.contract import DIRECTIONS, MANIFEST, RECIPE, SHARD_FILE, ShardEntry, Sidecar
from gen.plan import ShardTask
from gen.store import Store


def committed(store: Store, tasks: Sequence[ShardTask]) -> dict[ShardTask, ShardEntry]:
    """The manifest's entries for those shards that are done."""
    sizes = sizes_of(store, {task.direction for task in tasks})
    there = [task for task in tasks if task.tar in sizes and task.sidecar in sizes]

    def entry(task: ShardTask) -> ShardEntry | None:
        return _entry(task, store.read(task.sidecar), sizes[task.tar])

    if store.readers == 1:
        return {task: found for task in there if (found := entry(task))}
    with ThreadPoolExecutor(store.readers) as pool:
        try:
            return {task: found for task, found in zip(there, pool.map(entry, there)) if found}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def sizes_of(store: Store, directions: Iterable[str]) -> dict[str, int]:
    """Every tar and sidecar of some directions with its bytes."""
    return {
        f"{way}/{name}": size
        for way in directions
        for name, size in store.sizes(way).items()
        if SHARD_FILE.fullmatch(name)
    }


def _entry(task: ShardTask, data: bytes | None, size: int) -> ShardEntry | None:
    """The manifest's entry for a shard with this sidecar, None unless it is done."""
    if data is None:
        return None
    try:
        sidecar = Sidecar.parse(data)
    except ValueError:
        return None
    if (sidecar.identity, sidecar.start, sidecar.count) != (task.identity, task.start, task.count):
        return None
    if size != sidecar.bytes:
        return None
    return ShardEntry(task.name, task.count, sidecar.bytes, sidecar.sha256, hashlib.sha256(data).hexdigest())


def shard_files(store: Store) -> list[str]:
    """Every tar and sidecar of the set, the sidecars first."""
    found = [f"{way}/{name}" for way in DIRECTIONS for name in store.names(way) if SHARD_FILE.fullmatch(name)]
    return sorted(found, key=lambda name: name.endswith(".tar"))


def set_bytes(store: Store) -> int:
    """Bytes of the set's shards."""
    return sum(sizes_of(store, DIRECTIONS).values())


def remove_set(store: Store) -> None:
    """Take away every file of the contract, and no other: the manifests first, ``recipe.json`` last."""
    for name in (*(f"{direction}/{MANIFEST}" for direction in DIRECTIONS), *shard_files(store)):
        store.remove(name)
    for direction in DIRECTIONS:
        store.prune(direction)
    store.remove(RECIPE)
