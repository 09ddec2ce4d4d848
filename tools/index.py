"""Make tars that were made elsewhere usable for training: write a sidecar beside each, and the manifest.

    python -m tools.index DIR                        # DIR/*.tar with jpg, jpeg, png or webp, and txt, for each sample
    python -m tools.index DIR --direction vertical --charset my_words.txt

The tars stay as they are. Members are samples by WebDataset's rule: neighbours with equal names up to the first dot.
Labels are UTF-8; white space in them is one space, at their ends none. What cannot be used is left out and reported.

Tars whose names begin with val, dev or test are for validation; if there is none, the last ones by name, as many as
``--val`` says. The direction is that of most images unless it is given, the charset all characters of the labels, in
the order of their code points; ``--charset packaged`` is that of generated shards, to train on both.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import accumulate
from pathlib import Path

import cv2
from tqdm import tqdm

from gen.charset import Charset, load_charset
from gen.contract import DIRECTIONS, ELSEWHERE, MANIFEST, Manifest, ShardEntry, Sidecar, pack_columns
from gen.errors import UserError
from gen.estimate import processors
from gen.identity import identity_of
from gen.process import as_worker
from gen.store import LocalStore, publish
from gen.summary import size_text
from tools.index_scan import Scan, scan
from tools.left_out import LeftOut
from tools.rarity import rarest

_VALIDATION = re.compile(r"val|dev|test", re.IGNORECASE)
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m tools.index", description="Index tar shards made elsewhere.")
    result.add_argument("dir", metavar="DIR", type=Path, help="directory of the tars")
    result.add_argument("--direction", choices=DIRECTIONS, help="of all lines (default: as most images look)")
    result.add_argument(
        "--charset", metavar="FILE", help="one character a line, or: packaged (default: all that occur)"
    )
    result.add_argument("--val", type=float, default=0.01, metavar="SHARE", help="of the tars (default: 0.01)")
    result.add_argument("--report", type=Path, metavar="FILE", help="write all that is left out there")
    result.add_argument("--workers", type=int, default=processors(), metavar="N", help="processes (default: all)")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    args = parser().parse_args(argv)
    try:
        index(args)
    except (UserError, OSError) as error:
        print(f"python -m tools.index: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("python -m tools.index: stopped; give the same command again", file=sys.stderr)
        return 130
    return 0


def index(args: argparse.Namespace) -> None:
    """Index the tars. Raises `UserError`."""
    if not 0 <= args.val < 1:
        raise UserError(f"--val {args.val}: give a share from 0 to below 1")
    charset = None
    if args.charset is not None:
        charset = load_charset(None if args.charset == "packaged" else args.charset)
    tars = _tars(args.dir)
    left_out = LeftOut()
    scans = []
    allowed = None if charset is None else frozenset(charset.chars + " ")
    for found in _scan_all(tars, allowed, args.workers):
        left_out.extend(found.left_out)
        if found.count:
            scans.append(found)
    if args.report is not None:
        left_out.write(args.report)
    for line in left_out.lines():
        print(line, file=sys.stderr)
    if not scans:
        raise UserError(f"{args.dir}: no sample of {len(tars)} tars can be used")
    if charset is None:
        charset = Charset("".join(sorted(frozenset().union(*(each.characters for each in scans)) - {" "})))
    count, tall = sum(each.count for each in scans), sum(each.tall for each in scans)
    direction = args.direction or DIRECTIONS[tall * 2 > count]
    splits = _splits(scans, args.val)
    _write(LocalStore(str(args.dir)), splits, direction, charset)
    parts = " + ".join(f"{sum(each.count for each in part):,} {split}" for split, part in splits.items())
    size = size_text(sum(each.bytes for each in scans))
    print(f"Indexed {count:,} samples ({parts}) of {direction} lines in {len(scans):,} tars, {size}.")
    print(f"The charset has {len(charset):,} characters; {len(left_out):,} were left out.")
    other = tall if direction == "horizontal" else count - tall
    if other > count // 20:
        shape = "higher than wide" if direction == "horizontal" else "not higher than wide"
        print(f"{other:,} images are {shape}: lines of the other direction among them belong in another directory.")
    if not splits["val"]:
        print("None is for validation: give one tar a name that begins with val, and index again.")
    print(f"Next: python -m train --data {args.dir}")


def _tars(folder: Path) -> list[Path]:
    """The tars of a directory by name. Raises `UserError` when there is none, or when they need no index."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a directory: give that of the tars")
    tars = sorted(path for path in folder.glob("*.tar") if not path.name.startswith("."))
    if not tars:
        packed = sorted(path.name for path in folder.iterdir() if path.name.endswith(_PACKED))
        hint = f"; {packed[0]} is compressed: decompress it, for samples in it cannot be found" if packed else ""
        raise UserError(f"{folder} holds no .tar file{hint}")
    for path in (path.with_suffix(".json") for path in tars):
        if path.name == MANIFEST:
            raise UserError(f"{path.with_suffix('.tar')}: give it another name, {MANIFEST} is that of the manifest")
        try:
            sidecar = Sidecar.parse(path.read_bytes())
        except FileNotFoundError:
            continue
        except ValueError:
            raise UserError(f"{path} would be overwritten, and is no sidecar: move it elsewhere") from None
        if sidecar.image != ELSEWHERE:
            raise UserError(f"{folder} holds generated shards, which need no index: python -m tools.verify checks them")
    return tars


def _scan_all(tars: Sequence[Path], charset: frozenset[str] | None, workers: int) -> Iterator[Scan]:
    """What each tar holds, in order."""
    sizes = [path.stat().st_size for path in tars]
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(max(1, min(workers, len(tars))), context, _prepare) as pool,
        tqdm(total=sum(sizes), unit="B", unit_scale=True, disable=None) as bar,
    ):
        try:
            for size, found in zip(sizes, pool.map(scan, tars, [charset] * len(tars))):
                bar.update(size)
                yield found
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _prepare() -> None:
    as_worker()
    cv2.setNumThreads(1)


def _splits(scans: Sequence[Scan], share: float) -> dict[str, list[Scan]]:
    """Which tars are for training and which for validation; at least one is for training."""
    val = [each for each in scans if _VALIDATION.match(each.name)]
    if not val and share and len(scans) > 1:
        val = list(scans[-min(len(scans) - 1, max(1, round(share * len(scans)))) :])
    if len(val) == len(scans):
        raise UserError("every tar has a name that begins with val, dev or test: name those for training otherwise")
    names = {each.name for each in val}
    return {"train": [each for each in scans if each.name not in names], "val": val}


def _write(store: LocalStore, splits: dict[str, list[Scan]], direction: str, charset: Charset) -> None:
    """The sidecars, and the manifest last."""
    tars = sorted((each.name, each.sha256) for part in splits.values() for each in part)
    recipe = {
        "indexed": {"tars": hashlib.sha256(repr(tars).encode()).hexdigest(), "count": len(tars)},
        "charset": charset.sha256,
        "direction": direction,
    }
    identity = identity_of(recipe)
    store.remove(MANIFEST)
    entries: dict[str, tuple[ShardEntry, ...]] = {}
    for split, part in splits.items():
        found = []
        counts: Counter[str] = Counter()
        for each in part:
            counts.update(each.characters)
        for each, end in zip(part, accumulate(each.count for each in part)):
            sidecar = Sidecar(
                name=each.name,
                direction=direction,
                split=split,
                start=end - each.count,
                count=each.count,
                bytes=each.bytes,
                sha256=each.sha256,
                identity=identity,
                image=ELSEWHERE,
                blocks=each.blocks,
                samples=pack_columns((*each.columns, rarest(counts, each.labels))),
            ).to_json()
            publish(store.create(f"{each.name}.json"), sidecar)
            found.append(
                ShardEntry(each.name, each.count, each.bytes, each.sha256, hashlib.sha256(sidecar).hexdigest())
            )
        entries[split] = tuple(found)
    manifest = Manifest(direction, identity, recipe, charset.chars, charset.sha256, ELSEWHERE, entries)
    publish(store.create(MANIFEST), manifest.to_json())


if __name__ == "__main__":
    sys.exit(main())
