"""What is written for each image: the older project's line, the text alone, JSON, or a row of a table.

    python -m infer scans/ --format jsonl --output scans.jsonl

A record is UTF-8 and ends with a line feed; of an image that could not be read there may be none. Names are written
byte for byte as the file system has them, save that what would break a line is escaped with a backslash; a table with
commas quotes instead. JSON has \\udcXX where a name is not UTF-8, as Python does.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence

from infer.images import ImageError
from infer.reading import Reading

COLUMNS = ("path", "text", "direction", "score", "min_score")


class Format:
    """``key`` and ``key_of`` tell which image a record is of; they are the same for both. ``header``: a first record.

    This one is that of the older project's demo: ``image_path:a.png,label:text``.
    """

    header = b""

    def record(self, name: str, reading: Reading) -> bytes:
        """What is written for an image that was read."""
        return b"image_path:%s,label:%s\n" % (self.key(name), _escaped(reading.text, "\n\r"))

    def failure(self, name: str, error: ImageError) -> bytes:
        """What is written for one that could not be."""
        return b""

    def key(self, name: str) -> bytes:
        return _escaped(name, "\n\r")

    def key_of(self, record: bytes) -> bytes:
        """Raises ValueError for what is no record of this format."""
        name, label, _ = record.removeprefix(b"image_path:").rpartition(b",label:")
        if not (label and record.startswith(b"image_path:")):
            raise ValueError
        return name

    def failed(self, record: bytes) -> bool:
        """Whether it is of an image that could not be read."""
        return False

    def records(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """The whole records in the lines of a file; what is torn at its end is left out."""
        return (line for line in lines if line.endswith(b"\n"))


class Text(Format):
    """The text alone, an empty line where there is none, so that lines can be counted."""

    def record(self, name: str, reading: Reading) -> bytes:
        return _escaped(reading.text, "\n\r") + b"\n"

    def failure(self, name: str, error: ImageError) -> bytes:
        return b"\n"

    def key(self, name: str) -> bytes:
        return b""

    def key_of(self, record: bytes) -> bytes:
        return b""


class JsonLines(Format):
    """An object a line: path, text, direction, scores, and each character with its score, place and alternatives; or
    path and error."""

    def record(self, name: str, reading: Reading) -> bytes:
        return _json({"path": name, **reading.to_dict()})

    def failure(self, name: str, error: ImageError) -> bytes:
        return _json({"path": name, "error": error.reason})

    def key(self, name: str) -> bytes:
        return _bytes(name)

    def key_of(self, record: bytes) -> bytes:
        return _bytes(_object(record)["path"])

    def failed(self, record: bytes) -> bool:
        return "error" in _object(record)


class Tabs(Format):
    """A row of columns between tabs; tab, line feed, carriage return and backslash are escaped."""

    header = "\t".join(COLUMNS).encode() + b"\n"

    def record(self, name: str, reading: Reading) -> bytes:
        return b"\t".join(_escaped(cell, "\\\t\n\r") for cell in _cells(name, reading)) + b"\n"

    def key(self, name: str) -> bytes:
        return _escaped(name, "\\\t\n\r")

    def key_of(self, record: bytes) -> bytes:
        cells = record.split(b"\t")
        if len(cells) != len(COLUMNS):
            raise ValueError
        return cells[0]


class Commas(Format):
    """A row of columns between commas, quoted where it must be (RFC 4180, but with line feeds)."""

    header = ",".join(COLUMNS).encode() + b"\n"

    def record(self, name: str, reading: Reading) -> bytes:
        buffer = io.StringIO()
        csv.writer(buffer).writerow(_cells(name, reading))  # it quotes what its own end of lines, CR LF, has
        return _bytes(buffer.getvalue().removesuffix("\r\n") + "\n")

    def key(self, name: str) -> bytes:
        return _bytes(name)

    def key_of(self, record: bytes) -> bytes:
        rows = list(csv.reader(io.StringIO(record.decode("utf-8", "surrogateescape"), newline="")))
        if len(rows) != 1 or len(rows[0]) != len(COLUMNS):
            raise ValueError
        return _bytes(rows[0][0])

    def records(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        record = b""
        for line in lines:
            record += line
            if record.count(b'"') % 2 == 0 and line.endswith(b"\n"):
                yield record
                record = b""


FORMATS = {"demo": Format(), "txt": Text(), "jsonl": JsonLines(), "csv": Commas(), "tsv": Tabs()}


def _cells(name: str, reading: Reading) -> Sequence[str]:
    return name, reading.text, reading.direction, f"{reading.score:.4f}", f"{reading.lowest:.4f}"


def _escaped(text: str, chars: str) -> bytes:
    names = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
    return _bytes(text.translate({ord(char): names[char] for char in chars}))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _json(values: object) -> bytes:
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _object(record: bytes) -> dict[str, str]:
    values = json.loads(record)
    if not (isinstance(values, dict) and isinstance(values.get("path"), str)):
        raise ValueError
    return values
