"""Check every byte of a set of shards against what it says about itself.

    python -m tools.verify shards                # or one direction: shards/horizontal; or s3://bucket/prefix

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
from typing import Any

import cv2
from tqdm import tqdm

from gen import command, tar
from gen.contract import ELSEWHERE, Block, Sidecar, sample_key
from gen.estimate import processors
from gen.process import as_worker
from gen.store import Store
from gen.summary import size_text, time_text
from tools.verify_folder import Shard, absent, open_folders, read_folder
from tools.verify_sample import check_indexed, check_sample

_SHOWN = 3  # reasons for one shard


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    parser = command.Parser(prog="python -m tools.verify", description="Check every byte of a set of shards.")
    parser.add_argument("dir", metavar="DIR", help="what --out was, or one direction's directory in it")
    parser.add_argument("--workers", type=int, default=processors(), metavar="N", help="processes (default: all)")
    return command.run(parser, argv, lambda args: verify(args.dir, max(1, args.workers)))


def verify(place: str, workers: int) -> int:
    """Check the shards under ``place``, print what is wrong, and return the exit code. Raises `UserError`."""
    begin = time.perf_counter()
    store, folders = open_folders(place)
    problems = absent(store, folders)
    shards: list[Shard] = []
    charset = ""
    for folder in folders:
        found, chars, wrong = read_folder(place, store, folder)
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
    data = shard.store.read(f"{shard.inside}{entry.name}.json")
    if data is None:
        yield "the sidecar is not there"
        return
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
    path = f"{shard.inside}{entry.name}.tar"
    size = shard.store.size(path)
    if size is None:
        yield "the tar is not there"
        return
    if size != entry.bytes:
        yield f"the tar has {size} bytes, by the manifest {entry.bytes}"
    digest = hashlib.sha256()
    file = Tar(shard.store, path, size)
    yield from _check_blocks(file, sidecar, columns, digest)
    rest = file.read(size)
    digest.update(rest)
    if sidecar.image != ELSEWHERE and rest != tar.end(sum(block.bytes for block in sidecar.blocks)):
        yield "the end of the archive is not as it should be"
    if digest.hexdigest() != entry.sha256:
        yield "the tar has another sha256 than the manifest says"


@dataclass
class Tar:
    """A file of a store, read from its begin to its end."""

    store: Store
    name: str
    size: int
    offset: int = 0

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer where it ends."""
        size = min(size, self.size - self.offset)
        data = self.store.part(self.name, self.offset, size) if size > 0 else b""
        self.offset += len(data)
        return data


def _check_blocks(file: Tar, sidecar: Sidecar, columns: dict[str, list[int]], digest: Any) -> Iterator[str]:
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
