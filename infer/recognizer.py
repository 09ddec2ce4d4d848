"""Images of lines to text, from Python.

    from infer import Recognizer
    recognizer = Recognizer.load()
    for reading in recognizer.read(["a.png", open("b.jpg", "rb").read(), array]):
        print(reading.text, reading.score)

One recogniser may be used by any number of threads. A line's text does not depend on what else is read with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from gen.charset import Charset
from gen.errors import UserError
from gen.stream import DIRECTIONS
from infer.allow import allowed_classes
from infer.backend import Backend, open_backend
from infer.decode import Found, decode
from infer.images import MOST_PIXELS, ImageError, ImageLike, grey
from infer.looks import LOOKS, PRESET, look_again, of_lines, unsure
from infer.prior import Which, open_prior
from infer.reading import Char, Reading
from infer.trim import Crop, find_crop
from train.image import pad_batch, padded, to_height, upright

Direction: TypeAlias = Literal["auto", "horizontal", "vertical"]
WEIGHTS = Path(__file__).with_name("weights")
PACKAGED, EXACT = WEIGHTS / "lines-int8.onnx", WEIGHTS / "lines.onnx"  # the same network, the second one for GPUs
BATCH = 16  # lines at a time, where they are alike in width
WIDEST = 16_384  # px of all lines of a batch; one line may be wider
LONGEST = 1024  # heights; memory grows with the length of a line, and a small file may hold a very long one
TALL, FLAT = 3.0, 0.8  # height / width from which an image is surely a column, and to which it is surely a row


@dataclass(frozen=True)
class _Line:
    """A prepared line: number of the image, direction, pixels uint8 [32, W], and where its pixels were in the image:
    the first along the reading direction, and how many of the image's one of its own makes."""

    number: int
    direction: str
    pixels: NDArray[np.uint8]
    start: float
    scale: float


class Recognizer:
    """Reads lines with one network or one for each direction; made by `load`."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        *,
        allow: str | None = None,
        prior: Which = "auto",
        looks: int = PRESET,
        workers: int = 1,
        batch_size: int = BATCH,
        most_pixels: int = MOST_PIXELS,
    ) -> None:
        """``backends``: by direction; the others are as for `load`."""
        self.backends = dict(backends)
        self._masks = {
            way: None if allow is None else allowed_classes(allow, backend.codec) for way, backend in backends.items()
        }
        priors = {id(backend): open_prior(backend.codec, prior, self._masks[way]) for way, backend in backends.items()}
        self._priors = {way: priors[id(backend)] for way, backend in backends.items()}
        if looks not in LOOKS:
            raise UserError(f"looks {looks!r} is none of {', '.join(map(str, LOOKS))}")
        self._looks = int(looks)
        self._batch, self._most = max(1, batch_size), most_pixels
        self._pool = ThreadPoolExecutor(workers, "reader") if workers > 1 else None

    @classmethod
    def load(
        cls,
        weights: str | os.PathLike[str] | None = None,
        *,
        horizontal: str | os.PathLike[str] | None = None,
        vertical: str | os.PathLike[str] | None = None,
        device: str = "cpu",
        charset: Charset | None = None,
        allow: str | None = None,
        prior: Which = "auto",
        looks: int = PRESET,
        workers: int = 1,
        batch_size: int = BATCH,
        most_pixels: int = MOST_PIXELS,
    ) -> Recognizer:
        """A recogniser from files of weights; a direction without any is read by the packaged ones.

        ``weights`` read the directions that they know; ``horizontal`` and ``vertical`` that one. ``charset``: of the
        older project's checkpoints among them. ``allow``, ``prior``: see `infer.allow`, `infer.prior`. ``looks``: how
        often a line that is not sure is read, see `infer.looks`. ``workers``: threads that read batches at the same
        time; ``batch_size``: lines in one at most; ``most_pixels``: of an image.
        Raises `UserError`.
        """
        opened: list[tuple[str, Backend]] = []

        def open_(path: str | os.PathLike[str], direction: str | None) -> Backend:
            for name, backend in opened:
                if name == os.fspath(path) and (direction is None or direction in backend.directions):
                    return backend
            opened.append((os.fspath(path), open_backend(Path(path), device, charset, direction)))
            return opened[-1][1]

        backends: dict[str, Backend] = {}
        if weights is not None:
            backend = open_(weights, None)
            backends.update(dict.fromkeys(backend.directions, backend))
        for way, path in (("horizontal", horizontal), ("vertical", vertical)):
            if path is not None:
                backends[way] = open_(path, way)
        missing = [way for way in DIRECTIONS if way not in backends]
        ours = PACKAGED if device == "cpu" else EXACT
        if missing and ours.is_file():
            packaged = open_backend(ours, device)
            backends.update({way: packaged for way in missing if way in packaged.directions})
        if not backends:
            raise UserError(f"no weights: {ours.name} is not in this installation; give --weight-path FILE")
        return cls(
            backends, allow=allow, prior=prior, looks=looks, workers=workers, batch_size=batch_size,
            most_pixels=most_pixels,
        )  # fmt: skip

    @overload
    def read(self, images: Iterable[ImageLike], direction: Direction = "auto") -> list[Reading]: ...
    @overload
    def read(
        self, images: Iterable[ImageLike], direction: Direction = "auto", *, errors: Literal["return"]
    ) -> list[Reading | ImageError]: ...
    def read(
        self,
        images: Iterable[ImageLike],
        direction: Direction = "auto",
        *,
        errors: Literal["raise", "return"] = "raise",
    ) -> list[Reading] | list[Reading | ImageError]:
        """One reading for each image, in their order. See `infer.images.grey` for what an image may be.

        ``direction`` auto: columns are taller than wide; where that is not clear both are read, and the surer one is
        taken. Raises `ImageError` for the first image that cannot be read, also for want of weights for the direction
        it seems to have, or returns it in its place with ``errors="return"``; `UserError` for a ``direction`` that no
        weights are there for.
        """
        lines: list[_Line] = []
        failed: dict[int, ImageError] = {}
        total = 0
        for number, image in enumerate(images):
            total += 1
            try:
                lines += self._lines(number, grey(image, self._most), direction)
            except ImageError as error:
                if errors == "raise":
                    raise
                failed[number] = error
        found: dict[int, Reading] = {}
        for line, reading in self._read(lines):
            before = found.get(line.number)
            if before is None or reading.score > before.score:
                found[line.number] = reading
        if errors == "raise":
            return [found[number] for number in range(total)]
        return [failed[number] if number in failed else found[number] for number in range(total)]

    def _lines(self, number: int, pixels: NDArray[np.uint8], direction: str) -> Iterator[_Line]:
        """The image as a line of each direction it may have. Raises `UserError`."""
        ways = self._directions(pixels, direction)
        for way in ways:
            backend = self.backends.get(way)
            if backend is None:
                words = f"no weights for {way} lines were given, and none are packaged: give some"
                raise UserError(words) if direction == way else ImageError(f"seems to be a {way} line; {words}")
            line = upright(pixels, way)
            crop = find_crop(line) if backend.image.trim else Crop(0, line.shape[0], 0, line.shape[1])
            cut = crop.of(line)
            if cut.shape[1] > LONGEST * cut.shape[0]:  # no reason to refuse a line that would be read with its margins
                crop = Crop(0, line.shape[0], crop.left, crop.right)
                cut = crop.of(line)
            if cut.shape[1] > LONGEST * cut.shape[0]:
                size = f"{cut.shape[1]:,} px long and {cut.shape[0]} px high"
                raise ImageError(f"holds a line {size}, more than {LONGEST:,} times as long as high; cut it in parts")
            prepared = to_height(cut, backend.image)
            if prepared is cut:  # a part of the image, which would stay in memory for it
                prepared = cut.copy()
            yield _Line(number, way, prepared, crop.left, (crop.right - crop.left) / prepared.shape[1])

    def _directions(self, pixels: NDArray[np.uint8], direction: str) -> Sequence[str]:
        if direction in DIRECTIONS:
            return (direction,)
        if direction != "auto":
            raise UserError(f"direction {direction!r} is none of auto, {', '.join(DIRECTIONS)}")
        height, width = pixels.shape
        if height <= FLAT * width:
            return ("horizontal",)
        if height >= TALL * width:
            return ("vertical",)
        return tuple(way for way in DIRECTIONS if way in self.backends)

    def _read(self, lines: Sequence[_Line]) -> Iterator[tuple[_Line, Reading]]:
        """Each line with what it says; those are read together that one network reads and that pad to one width."""
        alike: dict[tuple[int, int, str], list[_Line]] = {}
        for line in lines:
            width = padded(line.pixels.shape[1], self.backends[line.direction].image.room)
            # One network that reads both directions may read them together.
            way = next(way for way, backend in self.backends.items() if backend is self.backends[line.direction])
            alike.setdefault((line.pixels.shape[0], width, way), []).append(line)
        batches: list[list[_Line]] = []
        for (_, width, _), group in alike.items():
            size = max(1, min(self._batch, WIDEST // width))
            batches += [group[start : start + size] for start in range(0, len(group), size)]
        run = map if self._pool is None or len(batches) < 2 else self._pool.map
        for batch, readings in zip(batches, run(self._read_batch, batches)):
            yield from zip(batch, readings)

    def _read_batch(self, batch: Sequence[_Line]) -> list[Reading]:
        way = batch[0].direction
        backend = self.backends[way]
        images, widths = pad_batch([line.pixels for line in batch], backend.image.room)
        counts = np.array([backend.frames(int(width)) for width in widths], np.int64)
        mask, prior = self._masks[way], self._priors[way]
        frames = backend.run(images, mask)
        found = decode(frames, counts, prior)
        if self._looks > 1 and len(chosen := unsure(found)):
            frames = of_lines(frames, chosen)  # those of the others are not held while these are looked at
            run, stride = partial(backend.run, allowed=mask), backend.stride
            frames = look_again(run, images[chosen], frames, self._looks, stride)
            for number, chars in zip(chosen.tolist(), decode(frames, counts[chosen], prior)):
                found[number] = chars
        return [
            _reading(line, chars, int(width) / max(1, int(count)), backend)
            for line, chars, width, count in zip(batch, found, widths, counts)
        ]


def _reading(line: _Line, found: Sequence[Found], step: float, backend: Backend) -> Reading:
    """``step``: px of the prepared line that a frame stands for."""
    names = backend.codec.characters
    chars = tuple(
        Char(
            names[each.number],
            each.chance,
            line.start + each.middle * step * line.scale,
            tuple((names[number], chance) for number, chance in each.others),
        )
        for each in found
    )
    return Reading("".join(char.text for char in chars), line.direction, chars)
