"""Lines of the user's own text files, cut into pieces of a wanted length: ``python -m gen --corpus novel.txt …``."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gen.charset import Charset
from gen.errors import UserError

SPACE = -1  # stands where a text has a blank; every other number is a position in the charset


@dataclass(frozen=True)
class TextCorpus:
    """Text as positions in the charset.

    ``symbols`` int32 [symbols of all lines], ``starts`` int64 [lines + 1]; ``dropped`` counts the characters that the
    charset does not have, ``files`` pairs names with sha256.
    """

    symbols: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    dropped: Counter[str]
    files: tuple[tuple[str, str], ...]

    def piece(self, place: float, length: int) -> npt.NDArray[np.int32]:
        """``length`` symbols (fewer where the line ends) from a point at ``place`` (0 to 1) of all text.

        Neither end is a blank. The piece is empty only where there is nothing but a blank.
        """
        begin = min(int(place * len(self.symbols)), len(self.symbols) - 1)
        line = int(np.searchsorted(self.starts, begin, side="right")) - 1
        low, high = int(self.starts[line]), int(self.starts[line + 1])
        begin = max(low, min(begin, high - length))
        piece = self.symbols[begin : min(begin + length, high)]
        inked = np.flatnonzero(piece != SPACE)
        return piece[inked[0] : inked[-1] + 1] if len(inked) else piece[:0]


def tidy(piece: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Without blanks at the ends, and never two in a row."""
    blank = piece == SPACE
    piece = piece[~(blank & np.append(True, blank)[:-1])]
    return piece[:-1] if len(piece) and piece[-1] == SPACE else piece


def read_text(files: Sequence[Path], charset: Charset) -> TextCorpus:
    """Read UTF-8 files: runs of blanks become one, a character outside the charset ends the piece it stands in.

    Raises `UserError` for an unreadable file, or when no character of all the files is in the charset.
    """
    index, dropped = charset.index, Counter[str]()
    pieces: list[npt.NDArray[np.int32]] = []
    digests = []
    for file in files:
        try:
            data = file.read_bytes()
            text = data.decode("utf-8-sig")
        except OSError as error:
            raise UserError(f"corpus {file} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise UserError(f"corpus {file} is not UTF-8 (byte {error.start}): convert it first") from None
        digests.append((file.name, hashlib.sha256(data).hexdigest()))
        for line in text.splitlines():
            current: list[int] = []
            for char in " ".join(line.split()):
                position = SPACE if char == " " else index.get(char)
                if position is None:
                    dropped[char] += 1
                    pieces.append(np.array(current, np.int32))
                    current = []
                elif current or position != SPACE:
                    current.append(position)
            pieces.append(np.array(current, np.int32))
    kept = [piece[:-1] if piece[-1] == SPACE else piece for piece in pieces if len(piece)]
    kept = [piece for piece in kept if len(piece)]
    if not kept:
        names = ", ".join(str(file) for file in files)
        raise UserError(f"corpus {names} has no character of the charset: give UTF-8 text, or another --charset")
    starts = np.cumsum([0, *(len(piece) for piece in kept)], dtype=np.int64)
    return TextCorpus(np.concatenate(kept), starts, dropped, tuple(digests))
