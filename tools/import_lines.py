"""Labelled images of lines to shards.

    python -m tools.import_lines --labels labels.tsv --images DIR --out shards/real

``labels.tsv`` is UTF-8, a line for each image: its path below DIR, a tab, its text. There are no quotes and no escapes:
the text is everything after the first tab. White space in it is one space, at its ends none; a byte order mark, CRLF
and empty lines do no harm. What cannot be used (no tab, no text, a character that is not in the charset, no image that
can be read) is left out and reported; ``--report F`` lists all of it.

Lines are shuffled by ``--seed``, and a share of them is for validation. Images become grey and are otherwise kept as
they are, byte for byte if they are grey JPEG files already. Equal input gives equal shards; another one is refused in
the same directory.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gen import dataset
from gen.charset import Charset, load_charset
from gen.contract import DIRECTIONS, pack_columns, sample_key
from gen.dataset import Held
from gen.errors import UserError
from gen.image import encode_image
from gen.plan import ShardTask, parse_size
from gen.shard import ShardBuilder
from gen.store import Store, open_store
from tools.left_out import LeftOut
from tools.rarity import rarest
from train.members import clean, decode

QUALITY = 95  # of images that are encoded anew: they were compressed once before
_LARGEST = 65_500  # px a side, what a JPEG holds


@dataclass(frozen=True)
class Line:
    """An image that can be used, and its text."""

    path: Path
    text: str
    direction: str
    sha256: str  # of the file


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m tools.import_lines", description="Labelled images to shards.")
    add = result.add_argument
    add("--labels", type=Path, required=True, metavar="FILE", help="PATH<TAB>TEXT, one a line")
    add("--images", type=Path, metavar="DIR", help="where the paths begin (default: the directory of FILE)")
    add("--out", required=True, metavar="OUT", help="shards go to OUT/horizontal and OUT/vertical")
    add("--direction", choices=("auto", *DIRECTIONS), default="auto", help="auto: vertical if higher than wide")
    add("--val", type=float, default=0.05, metavar="SHARE", help="share for validation (default: 0.05)")
    add("--charset", metavar="FILE", help="one character a line (default: the packaged 30,656)")
    add("--seed", type=int, default=0, help="of the order (default: 0)")
    add("--shard-size", default="10k", metavar="N", help="images in a shard (default: 10k)")
    add("--report", type=Path, metavar="FILE", help="write all that is left out there")
    add("--overwrite", action="store_true", help="replace what OUT holds")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    args = parser().parse_args(argv)
    try:
        run(args)
    except (UserError, OSError) as error:
        print(f"python -m tools.import_lines: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("python -m tools.import_lines: stopped; the same command goes on", file=sys.stderr)
        return 130
    return 0


def run(args: argparse.Namespace) -> None:
    """Import what the arguments name. Raises `UserError`."""
    if not 0 <= args.val < 1:
        raise UserError(f"--val {args.val}: give a share from 0 to below 1")
    if not 0 <= args.seed < 1 << 63:
        raise UserError(f"--seed {args.seed}: give a whole number from 0 to 2^63 - 1")
    cv2.setNumThreads(1)
    store, charset = open_store(args.out), load_charset(args.charset)
    labels = _read(args.labels)
    folder = args.images if args.images is not None else args.labels.parent
    if not folder.is_dir():
        raise UserError(f"--images {folder} is not a directory: give the one where the paths in {args.labels} begin")
    left_out = LeftOut()
    lines = list(_usable(labels, folder, args.direction, charset, left_out))
    if args.report is not None:
        left_out.write(args.report)
    for text in left_out.lines():
        print(text, file=sys.stderr)
    if not lines:
        raise UserError(f"{args.labels}: none of its lines can be used")
    parts = _parts(lines, args.seed, args.val)
    held = Held(
        recipe={
            "imported": hashlib.sha256("".join(line.sha256 + line.text + "\n" for line in lines).encode()).hexdigest(),
            "charset": charset.sha256,
            "direction": args.direction,
            "image": {"format": "jpg", "quality": QUALITY, "opencv": cv2.__version__},
            "seed": args.seed,
            "shard_size": parse_size(args.shard_size, "--shard-size"),
            "val": args.val,
        },
        charset=charset.chars,
        charset_sha256=charset.sha256,
        image="jpg",
        shard_size=parse_size(args.shard_size, "--shard-size"),
        counts={way: {split: len(part) for split, part in parts[way].items()} for way in parts},
    )
    with (
        dataset.prepared(store, held, args.overwrite, (0, 1), lambda todo, freed: None) as todo,
        tqdm(total=sum(task.count for task in todo), unit="img", unit_scale=True, disable=None) as bar,
    ):
        counts = {(way, split): _characters(part) for way in parts for split, part in parts[way].items()}
        for task in todo:
            part = parts[task.direction][task.split][task.start : task.start + task.count]
            _write(store, task, part, counts[task.direction, task.split])
            bar.update(task.count)
        dataset.finish(store, held)
    made = "; ".join(f"{way} {len(part['train']):,} train + {len(part['val']):,} val" for way, part in parts.items())
    print(f"{args.out} holds {len(lines):,} lines ({made}); {len(left_out):,} were left out.")
    print(f"Next: python -m tools.verify {args.out}")


def _read(path: Path) -> list[tuple[int, str]]:
    """The lines of the labels' file that are not empty, and their numbers. Raises `UserError`."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"--labels {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"--labels {path}: line {number} is not UTF-8; convert the file") from None
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _usable(
    labels: Sequence[tuple[int, str]], folder: Path, direction: str, charset: Charset, left_out: LeftOut
) -> Iterator[Line]:
    """The lines that can be used, in order; the others go to ``left_out``."""
    for number, row in tqdm(labels, "reading", unit="img", unit_scale=True, disable=None):
        name, tab, text = row.partition("\t")
        text = clean(text)
        if not tab:
            left_out.add(f"line {number}", "no tab")
        elif not text:
            left_out.add(name, "no text")
        elif outside := sorted(set(text) - charset.index.keys() - {" "}):
            left_out.add(f"{name} ({''.join(outside)})", "characters outside the charset")
        else:
            try:
                data = folder.joinpath(name).read_bytes()
            except (OSError, ValueError):  # ValueError: a path with a zero byte
                left_out.add(name, "no such file, or not readable")
                continue
            pixels = to_grey(data)
            if pixels is None or max(pixels.shape) > _LARGEST:
                left_out.add(name, "not an image that can be read")
                continue
            height, width = pixels.shape
            way = DIRECTIONS[height > width] if direction == "auto" else direction
            yield Line(folder / name, text, way, hashlib.sha256(data).hexdigest())


def _parts(lines: Sequence[Line], seed: int, share: float) -> dict[str, dict[str, list[Line]]]:
    """Direction and split to lines, in the order of their samples; at least one of a direction is for training."""
    parts = {}
    for number, way in enumerate(DIRECTIONS):
        chosen = [line for line in lines if line.direction == way]
        if chosen:
            random = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
            order = [chosen[k] for k in random.permutation(len(chosen))]
            train = max(1, len(order) - round(share * len(order)))
            parts[way] = {"train": order[:train], "val": order[train:]}
    return parts


def _characters(lines: Sequence[Line]) -> Counter[str]:
    """How often each character occurs."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(line.text)
    return counts


def _write(store: Store, task: ShardTask, lines: Sequence[Line], counts: Counter[str]) -> None:
    """Make a shard, in the order of `gen.shard.run_task`: the sidecar, which commits it, goes first and comes last."""
    with store.create(task.tar) as shard, store.create(task.sidecar) as note:
        builder = ShardBuilder(shard.write, (".jpg", ".txt"))
        for index, line in enumerate(lines, start=task.start):
            data = line.path.read_bytes()
            if hashlib.sha256(data).hexdigest() != line.sha256:
                raise UserError(f"{line.path} has changed meanwhile: give the same command again")
            pixels = to_grey(data)
            assert pixels is not None
            height, width = pixels.shape
            members = (_as_jpeg(data, pixels), line.text.encode())
            builder.add(sample_key(task.direction, task.split, index).encode(), members, width, height, len(line.text))
        sidecar = builder.finish(task, "jpg")
        columns: list[Iterable[int]] = [*sidecar.columns().values(), rarest(counts, (line.text for line in lines))]
        note.write(replace(sidecar, samples=pack_columns(columns)).to_json())
        shard.seal()
        note.seal()
        store.remove(task.sidecar)
        shard.publish()
        note.publish()


def to_grey(data: bytes) -> NDArray[np.uint8] | None:
    """The image in a file's bytes as grey uint8 [H, W], what is transparent white; None when it is none."""
    pixels = decode(data)
    if pixels is None or not data.startswith(b"\x89PNG"):
        return pixels
    whole = _as_stored(data)
    if whole.ndim < 3 or whole.shape[2] < 4:
        return pixels
    alpha = whole[:, :, 3] / np.iinfo(whole.dtype).max
    return np.asarray(np.rint(pixels * alpha + 255 * (1 - alpha)), np.uint8)


def _as_stored(data: bytes) -> NDArray[Any]:
    """An image with all its channels, not turned as its EXIF data may say."""
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))


def _as_jpeg(data: bytes, pixels: NDArray[np.uint8]) -> Any:
    """A grey JPEG file: ``data`` if it is one, and upright."""
    if data.startswith(b"\xff\xd8\xff") and _as_stored(data).shape == pixels.shape:
        return data
    return encode_image(pixels, "jpg", QUALITY)


if __name__ == "__main__":
    sys.exit(main())
