"""Check every byte of a set of shards against what it says about itself.

    python -m tools.verify shards                # or one direction: shards/horizontal

Sums, sizes, counts, member names and order, labels within the charset, boxes inside their images, images that decode
to the recorded size. Exit code 0 when all is well, 1 with a line for each bad shard, 2 when DIR holds no shards.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
from tqdm import tqdm

from gen import command, tar
from gen.contract import (
    DIRECTIONS,
    ELSEWHERE,
    MANIFEST,
    RECIPE,
    SHARD_FILE,
    SPLITS,
    Block,
    Manifest,
    ShardEntry,
    Sidecar,
    sample_key,
    shard_name,
)
from gen.dataset import Held
from gen.errors import UserError
from gen.estimate import processors
from gen.identity import identity_of
from gen.process import as_worker
from gen.summary import size_text, time_text
from tools.verify_sample import check_indexed, check_sample

_SHOWN = 3  # reasons for one shard


@dataclass(frozen=True)
class Shard:
    """What a shard ought to be, by its manifest."""

    folder: Path
    direction: str
    split: str
    start: int
    identity: str
    image: str
    entry: ShardEntry

    @property
    def label(self) -> str:
        return f"{self.direction}/{self.entry.name}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    parser = command.Parser(prog="python -m tools.verify", description="Check every byte of a set of shards.")
    parser.add_argument("dir", metavar="DIR", type=Path, help="what --out was, or one direction's directory in it")
    parser.add_argument("--workers", type=int, default=processors(), metavar="N", help="processes (default: all)")
    return command.run(parser, argv, lambda args: verify(args.dir, max(1, args.workers)))


def verify(place: Path, workers: int) -> int:
    """Check the shards under ``place``, print what is wrong, and return the exit code. Raises `UserError`."""
    begin = time.perf_counter()
    folders = _folders(place)
    problems = _absent(place, folders)
    shards: list[Shard] = []
    charset = ""
    for folder in folders:
        found, chars, wrong = read_folder(folder)
        shards += found
        charset = chars or charset
        problems += wrong
    for line in problems:
        print(f"BAD {line}", file=sys.stderr)
    bad = 0
    context = multiprocessing.get_context("spawn")
    total = sum(shard.entry.bytes for shard in shards)
    with (
        ProcessPoolExecutor(min(workers, max(1, len(shards))), context, _prepare, (charset,)) as pool,
        tqdm(total=total, unit="B", unit_scale=True, disable=None) as bar,
    ):
        try:
            futures = {pool.submit(check_shard, shard): shard for shard in shards}
            for future in as_completed(futures):
                shard, reasons = futures[future], future.result()
                bar.update(shard.entry.bytes)
                if reasons:
                    bad += 1
                    more = f"; and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
                    bar.write(f"BAD {shard.label}: {'; '.join(reasons[:_SHOWN])}{more}", file=sys.stderr)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    images = sum(shard.entry.count for shard in shards)
    what = f"{images:,} images in {len(shards):,} shards, {size_text(total)}"
    if bad or problems:
        again = "give the generating command again"
        advice = f"delete the .tar and .json of each and {again}" if bad else again
        if any(shard.image == ELSEWHERE for shard in shards):
            advice = "mend the tars, then python -m tools.index"
        print(f"Checked {what}: {bad} bad shards, {len(problems)} other problems; {advice}.")
        return 1
    print(f"Checked {what}, every byte, in {time_text(time.perf_counter() - begin)}: all is well.")
    return 0


def _folders(place: Path) -> list[Path]:
    """The directions' directories. Raises `UserError` when there are none."""
    if not place.is_dir():
        raise UserError(f"{place} is not a directory: give what --out was")
    if place.joinpath(MANIFEST).exists() or any(SHARD_FILE.fullmatch(path.name) for path in place.iterdir()):
        return [place]
    folders = [place / direction for direction in DIRECTIONS if (place / direction).is_dir()]
    if not folders:
        raise UserError(f"{place} holds no shards: give what --out was, or one direction's directory in it")
    return folders


def _absent(place: Path, folders: Sequence[Path]) -> list[str]:
    """What a whole set lacks by its recipe.json; nothing for a direction's directory on its own."""
    if list(folders) == [place]:
        return []
    try:
        held = Held.parse(place.joinpath(RECIPE).read_bytes())
    except (OSError, ValueError) as error:
        return [f"{place / RECIPE} cannot be used: {error}"]
    names = {folder.name for folder in folders}
    return [f"{place / way} is not there, though {RECIPE} lists it" for way in held.counts if way not in names]


def read_folder(folder: Path) -> tuple[list[Shard], str, list[str]]:
    """A direction's shards by its manifest, the charset, and what is wrong with the folder as a whole."""
    try:
        manifest = Manifest.parse(folder.joinpath(MANIFEST).read_bytes())
    except FileNotFoundError:
        return [], "", [f"{folder}: no {MANIFEST}, so the set is not complete; give the generating command again"]
    except (OSError, ValueError) as error:
        return [], "", [f"{folder / MANIFEST}: {error}"]
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
            shards.append(Shard(folder, manifest.direction, split, start, manifest.identity, manifest.image, entry))
            start += entry.count
    listed = {f"{shard.entry.name}.{kind}" for shard in shards for kind in ("tar", "json")}
    extra = sorted(
        path.name for path in folder.iterdir() if SHARD_FILE.fullmatch(path.name) and path.name not in listed
    )
    if extra:
        problems.append(f"{len(extra)} shard files are not in it: {', '.join(extra[:3])}")
    problems += _against_recipe(folder.parent / RECIPE, manifest)
    return shards, manifest.charset, [f"{folder / MANIFEST}: {problem}" for problem in problems]


def _against_recipe(path: Path, manifest: Manifest) -> list[str]:
    """Whether the set's recipe.json, if it is there, says the same as a direction's manifest."""
    if not path.exists():
        return []  # a direction may be copied elsewhere alone
    try:
        held = Held.parse(path.read_bytes())
    except ValueError as error:
        return [f"{path} cannot be used: {error}"]
    counts = {split: sum(entry.count for entry in entries) for split, entries in manifest.splits.items()}
    if held.identity != manifest.identity or held.charset != manifest.charset:
        return [f"{path} is of another recipe"]
    if held.counts.get(manifest.direction) != counts:
        return [f"{path} is for {held.counts.get(manifest.direction)}, the manifest for {counts}"]
    return []


_charset: frozenset[str] = frozenset()


def _prepare(charset: str) -> None:
    global _charset
    _charset = frozenset(charset)
    as_worker()
    cv2.setNumThreads(1)


def check_shard(shard: Shard) -> list[str]:
    """What is wrong with a shard and its sidecar, in words; nothing when all is well."""
    try:
        return list(_check_shard(shard))
    except (OSError, ValueError) as error:
        return [f"{error}"]


def _check_shard(shard: Shard) -> Iterator[str]:
    entry = shard.entry
    data = shard.folder.joinpath(f"{entry.name}.json").read_bytes()
    if hashlib.sha256(data).hexdigest() != entry.sidecar_sha256:
        yield "the sidecar has another sha256 than the manifest says"
    sidecar = Sidecar.parse(data)
    expected = {
        "name": entry.name,
        "direction": shard.direction,
        "split": shard.split,
        "start": shard.start,
        "count": entry.count,
        "bytes": entry.bytes,
        "sha256": entry.sha256,
        "identity": shard.identity,
        "image": shard.image,
    }
    for name, value in expected.items():
        if getattr(sidecar, name) != value:
            yield f"the sidecar's {name} is {getattr(sidecar, name)}, by the manifest it is {value}"
    columns = {name: column.tolist() for name, column in sidecar.columns().items()}
    path = shard.folder / f"{entry.name}.tar"
    size = path.stat().st_size
    if size != entry.bytes:
        yield f"the tar has {size} bytes, by the manifest {entry.bytes}"
    digest = hashlib.sha256()
    with path.open("rb") as file:
        yield from _check_blocks(file, sidecar, columns, digest)
        rest = file.read()
    digest.update(rest)
    if sidecar.image != ELSEWHERE and rest != tar.end(sum(block.bytes for block in sidecar.blocks)):
        yield "the end of the archive is not as it should be"
    if digest.hexdigest() != entry.sha256:
        yield "the tar has another sha256 than the manifest says"


def _check_blocks(file: BinaryIO, sidecar: Sidecar, columns: dict[str, list[int]], digest: Any) -> Iterator[str]:
    """Read the blocks in order, checking their bytes, their places and every sample in them."""
    offset = first = 0
    for number, block in enumerate(sidecar.blocks):
        samples = range(block.first, block.first + block.count)
        gap = block.offset - offset  # only tars made elsewhere hold what is no sample
        if gap < 0 or (gap and sidecar.image != ELSEWHERE) or block.first != first or samples.stop > sidecar.count:
            yield f"block {number} is not where the one before ends"
            return
        digest.update(file.read(gap))
        if sum(columns["record"][samples.start : samples.stop]) != block.bytes or not samples:
            yield f"block {number} does not have the bytes of its samples"
            return
        data = file.read(block.bytes)
        digest.update(data)
        if hashlib.sha256(data).hexdigest() != block.sha256:
            yield f"block {number} (bytes {block.offset} to {block.offset + block.bytes}) has another sha256"
        yield from _check_samples(data, block, sidecar, columns)
        offset, first = block.offset + block.bytes, samples.stop
    if first != sidecar.count:
        yield f"the blocks hold {first} samples of {sidecar.count}"


def _check_samples(data: bytes, block: Block, sidecar: Sidecar, columns: dict[str, list[int]]) -> Iterator[str]:
    position = 0
    for sample in range(block.first, block.first + block.count):
        record = data[position : position + columns["record"][sample]]
        position += len(record)
        index = sidecar.start + sample
        key = sample_key(sidecar.direction, sidecar.split, index)
        row = {name: column[sample] for name, column in columns.items()}
        try:
            if sidecar.image == ELSEWHERE:
                check_indexed(record, row, _charset)
            else:
                check_sample(record, key, index, sidecar, row, _charset)
        except ValueError as error:
            yield f"sample {key}: {error}"


if __name__ == "__main__":
    sys.exit(main())
