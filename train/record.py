"""What a run tells: a bar for people, ``metrics.jsonl`` for programs, TensorBoard with curves and pictures.

tail -f runs/h/metrics.jsonl
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gen.command import mute
from gen.errors import UserError
from gen.store import LocalDraft, publish
from train.board import Board

METRICS, BOARD = "metrics.jsonl", "tensorboard"
_BOARD_EVERY = 20  # steps between points of a curve


class Record:
    """Where the first process of a run writes what happens; goes on at ``step`` after what an earlier run wrote.

    Raises `UserError` when ``metrics.jsonl`` cannot be written.
    """

    def __init__(self, folder: Path, step: int, steps: int) -> None:
        self._path = folder / METRICS
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            self._drop_from(step)
            self._file = self._path.open("a", encoding="utf-8")
        self._board = Board(folder / BOARD, step, self.say)
        self._bar = tqdm(total=steps, initial=step, unit="step", disable=None, smoothing=0.05)

    def _drop_from(self, step: int) -> None:
        """Leave out what was written after the checkpoint that the run goes on from: those steps come again."""
        if not self._path.exists():
            return
        kept = []
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue  # the last line of a killed run
        publish(LocalDraft(self._path), "".join(kept).encode())

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self._path} cannot be written: {error.strerror}; make room, then give the same command again"
            ) from None

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        with suppress(OSError):  # it tries once more what has failed, and been told
            self._file.close()
        self._board.close()

    def step(self, values: dict[str, Any]) -> None:
        """A finished step: at least ``step`` (from 1), ``loss``, ``lines_per_s``, ``wait`` (share of time)."""
        self._write(values)
        self._bar.update()
        self._bar.set_postfix_str(
            f"{values['stage']} loss {values['loss']:.3f}, {values['lines_per_s']:.0f} lines/s, "
            f"waiting {values['wait']:.0%}",
            refresh=False,
        )
        if values["step"] % _BOARD_EVERY == 0:
            self._board.curves("train", values, ("loss", "lr", "lines_per_s", "wait", "norm"))

    def validation(self, values: dict[str, Any], pictures: Sequence[tuple[NDArray[np.uint8], str, str]]) -> None:
        """Accuracies on unseen lines, and some of these lines with truth and reading."""
        self.say(
            f"step {values['step']}: {values['char_accuracy']:.1%} of characters and {values['line_accuracy']:.1%} of "
            f"{values['lines']} unseen lines right (look-alikes as equal: {values['char_accuracy_folded']:.1%}, "
            f"{values['line_accuracy_folded']:.1%})"
        )
        self._board.curves("val", values, [name for name in values if "accuracy" in name])
        if pictures:
            self._board.pictures(pictures, values["step"])
        self._write(values)

    def _write(self, values: dict[str, Any]) -> None:
        with self._writing():
            self._file.write(json.dumps(values) + "\n")
            self._file.flush()

    def say(self, text: str) -> None:
        """A line for people, with the time."""
        try:
            tqdm.write(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr)
        except BrokenPipeError:  # nobody reads there any more
            mute()
