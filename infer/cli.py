"""The command line of the reader: images in, a line of text out for each.

    python -m infer line.png                                     # with the packaged weights, both directions
    python -m infer --weight-path W --image-dir scans            # a line for each image: image_path:…,label:…
    python -m infer scans --format jsonl --output scans.jsonl    # interrupted, the same with --resume goes on
    find . -name '*.png' -print0 | python -m infer --list - --null
    python -m infer - < line.png

The output has the order of the images and comes as they are read; messages and a summary go to stderr.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen import command
from gen.charset import load_charset
from gen.errors import UserError
from gen.stream import DIRECTIONS
from infer.ahead import Ahead, Loaded
from infer.backend import DEVICES
from infer.formats import FORMATS
from infer.images import ImageError, grey
from infer.options import add_reading
from infer.output import opened
from infer.paths import STDIN, Names, in_folder, in_list, named
from infer.progress import Progress
from infer.reading import Reading
from infer.recognizer import BATCH, EXACT, PACKAGED, Recognizer

PROGRAM = "python -m infer"


class Parser(command.Parser):
    """Takes images between the flags, too, and whatever stands behind ``--``."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        given = list(sys.argv[1:] if args is None else args)
        end = given.index("--") if "--" in given else len(given)
        found = self.parse_intermixed_args(given[:end], namespace)
        found.images += given[end + 1 :]
        return found


def parser() -> argparse.ArgumentParser:
    """Every flag, with its help."""
    result = Parser(
        prog=PROGRAM,
        description="Read images of Chinese text lines, horizontal and vertical.",
        epilog="Exit code: 0; 1 when images could not be read; 2 when the command is wrong or names no image.",
        allow_abbrev=False,
    )
    add = result.add_argument
    add("images", nargs="*", metavar="IMAGE", help="files, folders, patterns such as '*.png'; - takes one from stdin")
    add("--image-path", action="append", default=[], metavar="F", help="the same as IMAGE")
    add("--image-dir", action="append", default=[], metavar="D", help="a folder; those inside are read, too")
    add("--list", metavar="FILE", help="a file with a path on each line; - takes it from stdin")
    add("-0", "--null", action="store_true", help="paths in the list end with a zero byte, as find -print0 writes them")
    add(
        "--weight-path", metavar="W", help="weights, .onnx or .pt (default, also for what they lack: the packaged ones)"
    )
    add("-l", "--weight-path-horizontal", metavar="W", help="weights for horizontal lines")
    add("-v", "--weight-path-vertical", metavar="W", help="weights for vertical lines")
    add("--direction", choices=("auto", *DIRECTIONS), default="auto", help="of the lines (default: auto, by the shape)")
    add_reading(result)
    add("--format", choices=tuple(FORMATS), default="demo", help="of the output (default: demo, image_path:…,label:…)")
    add("--output", metavar="F", help="write to F, by way of F.part (default: to standard output)")
    add("--resume", action="store_true", help="leave out images that are in F.part, or in F, already")
    add("-d", "--device", choices=DEVICES, default="cpu", help="default: cpu")
    add("--workers", type=_count, metavar="N", help="threads that read (default: one for each processor, with torch 1)")
    add("--batch-size", type=_count, default=BATCH, metavar="N", help=f"lines in a batch at most (default: {BATCH})")
    return result


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0, 1 when images failed, 2 for what the user can mend, 130 when stopped."""
    return command.run(parser(), argv, read, stopped=_what_is_kept, advice=lambda args, error: _what_is_kept(args))


def _what_is_kept(args: argparse.Namespace) -> str:
    part = f"{args.output}.part"
    more = "" if args.format == "txt" else "; the same command with --resume goes on"
    return f"{part} keeps what was read{more}" if os.path.exists(part) else ""


def read(args: argparse.Namespace) -> int:
    """Read what the arguments name; the exit code. Raises `UserError`."""
    if args.resume and not args.output:
        raise UserError("--resume goes on from a file: give its name, --output F")
    if args.resume and args.format == "txt":
        raise UserError("--resume needs to know which images were read, and lines of --format txt do not say it")
    style = FORMATS[args.format]
    with ExitStack() as stack:
        names = _names(args, stack)
        output = stack.enter_context(opened(args.output, style, args.resume))
        # It begins while the weights are opened; some batches at a time, since each has lines of like width.
        ahead = stack.enter_context(Ahead(output.left(names), _load, 8 * args.batch_size))
        recognizer = _recognizer(args)
        progress = stack.enter_context(_progress(args, recognizer, output.kept))
        try:
            for chunk in ahead:
                results = list(_results(recognizer, chunk, args.direction))
                output.write(
                    style.record(each.name, result) if isinstance(result, Reading) else style.failure(each.name, result)
                    for each, result in zip(chunk, results)
                    if each.tried
                )
                for each, result in zip(chunk, results):
                    progress.add(each.name, result, each.tried)
        except KeyboardInterrupt:
            progress.tell(progress.summary())
            raise
        if not progress.read + progress.failed + output.kept:
            raise UserError("; ".join(progress.missing()) or f"--list {args.list} names no image")
    for line in progress.missing():
        command.say(f"{PROGRAM}: {line}")
    command.say(progress.summary())
    return int(progress.failed + len(progress.nothing) > 0)


def _names(args: argparse.Namespace, stack: ExitStack) -> Names:
    """The images to read: those named themselves, then folders, then the list. Raises `UserError`."""
    files = [*args.images, *args.image_path]
    if not (files or args.image_dir or args.list):
        raise UserError("nothing to read: give images, folders or --list FILE; - is an image from stdin")
    if [*files, args.list].count(STDIN) > 1:
        raise UserError("stdin was given twice: it holds one image, -, or one list, --list -")
    if STDIN in (*files, args.list) and sys.stdin is None:
        raise UserError("stdin is closed: nothing can be read from it")
    for folder in args.image_dir:
        if not os.path.isdir(folder):
            raise UserError(f"--image-dir {folder} is no folder")
    found = itertools.chain(*map(named, files), *map(in_folder, args.image_dir))
    if args.list is None:
        return found
    try:
        # Not buffered: a list from a pipe is to be read as it comes.
        file = open(0 if args.list == STDIN else args.list, "rb", buffering=0, closefd=args.list != STDIN)  # noqa: SIM115
    except OSError as error:
        raise UserError(f"--list {args.list} cannot be read: {error.strerror}") from None
    return itertools.chain(found, in_list(stack.enter_context(file), b"\0" if args.null else b"\n"))


def _load(name: str) -> NDArray[np.uint8]:
    """Raises `ImageError`."""
    if name != STDIN:
        return grey(name)
    with open(0, "rb", closefd=False) as file:  # not sys.stdin, whose lock would be held when the program ends
        return grey(file.read())


def _recognizer(args: argparse.Namespace) -> Recognizer:
    """Raises `UserError`."""
    weights = args.weight_path
    given = {"horizontal": args.weight_path_horizontal, "vertical": args.weight_path_vertical}
    if args.direction != "auto" and weights is not None:
        weights, given[args.direction] = None, given[args.direction] or weights
    paths = [path for path in (weights, *given.values()) if path is not None]
    with_torch = args.device != "cpu" or not all(path.endswith(".onnx") for path in paths)
    return Recognizer.load(
        weights,
        **given,
        device=args.device,
        charset=load_charset(args.charset) if args.charset else None,
        allow=args.allow,
        prior=args.prior,
        looks=args.looks,
        workers=args.workers or (1 if with_torch else len(os.sched_getaffinity(0))),
        batch_size=args.batch_size,
    )


def _progress(args: argparse.Namespace, recognizer: Recognizer, kept: int) -> Progress:
    named = any((args.weight_path, args.weight_path_horizontal, args.weight_path_vertical))
    others = [way for way, backend in recognizer.backends.items() if named and backend.path in (PACKAGED, EXACT)]
    bar = sys.stderr.isatty() and bool(args.output or not sys.stdout.isatty())
    total = None
    # What comes through a pipe can be read once only.
    if bar and STDIN not in (args.list, *args.images) and (args.list is None or os.path.isfile(args.list)):
        with ExitStack() as stack:
            total = sum(isinstance(name, str) for name in _names(args, stack))
    return Progress(PROGRAM, bar, total, kept, others)


def _results(recognizer: Recognizer, chunk: Sequence[Loaded], direction: Any) -> Iterator[Reading | ImageError]:
    images = [each.image for each in chunk if not isinstance(each.image, ImageError)]
    readings = iter(recognizer.read(images, direction, errors="return"))
    for each in chunk:
        yield each.image if isinstance(each.image, ImageError) else next(readings)
