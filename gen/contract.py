"""The shard contract: names, sidecars, manifests, as ``shards/README.md`` describes them for other readers.

Everything that writes or reads shards takes names and layouts from here, and nothing else defines them.

    python -c "import sys; from gen.contract import Sidecar; print(Sidecar.parse(open(sys.argv[1],'rb').read()))" F.json
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen.stream import DIRECTIONS as DIRECTIONS
from gen.stream import SPLITS as SPLITS

FORMAT = 1
BLOCK_BYTES = 4 << 20
ELSEWHERE = "any"  # the images of tars that were made elsewhere and only indexed: any format, colours, member order
RECIPE = "recipe.json"
MANIFEST = "manifest.json"
COLUMNS = (("record", "<u4"), ("image", "<u4"), ("width", "<u2"), ("height", "<u2"), ("label", "<u2"))
RAREST = ("rarest", "<u4")  # a column that only some sets have
SHARD_FILE = re.compile(r"(train|val)-(\d{6,})\.(tar|json)")


def shard_name(split: str, number: int) -> str:
    """``train-000003``; its files are ``.tar`` and ``.json``."""
    return f"{split}-{number:06d}"


def sample_key(direction: str, split: str, index: int) -> str:
    """``ht000000000042``: h or v, t or v(alidation), 12 digits. No dot; sorts in index order."""
    return f"{direction[0]}{split[0]}{index:012d}"


def document(value: object) -> bytes:
    """JSON for files that people also read: a value a line, the same bytes for equal values."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


_Bytes = bytes  # the classes below have a field of that name, which hides the type


@dataclass(frozen=True)
class Block:
    """A run of whole samples in a shard, about 4 MiB: the unit of fetching, verifying and shuffling."""

    offset: int  # of its first byte in the tar
    bytes: int
    first: int  # its first sample, counted from 0 within the shard
    count: int
    sha256: str


@dataclass(frozen=True)
class Sidecar:
    """What stands beside a shard and says that it is complete. ``samples`` is packed; see `columns`."""

    name: str
    direction: str
    split: str
    start: int  # index of the first sample within the direction and split
    count: int
    bytes: int  # of the tar
    sha256: str  # of the tar
    identity: str
    image: str  # file name extension of the images: jpg, png or webp; or ELSEWHERE
    blocks: tuple[Block, ...]
    samples: Mapping[str, Any]

    def to_json(self) -> _Bytes:
        """The sidecar file."""
        values = {"format": FORMAT, **asdict(self)}
        return json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"

    @classmethod
    def parse(cls, data: _Bytes) -> Sidecar:
        """The sidecar in a file's bytes. Raises ValueError saying what is wrong with it."""
        values = _mapping(data, "sidecar")
        try:
            blocks = tuple(Block(**block) for block in values.pop("blocks"))
            sidecar = cls(blocks=blocks, **values)
        except (KeyError, TypeError) as error:
            raise ValueError(f"sidecar with missing or unknown fields: {error}") from None
        holders: tuple[Sidecar | Block, ...] = (sidecar, *blocks)
        for holder in holders:
            for field in fields(holder):
                value = getattr(holder, field.name)
                wrong = {"int": type(value) is not int or value < 0, "str": type(value) is not str}
                if wrong.get(str(field.type)):
                    raise ValueError(f"sidecar field {field.name} is {value!r}")
        return sidecar

    def columns(self) -> dict[str, NDArray[Any]]:
        """One array [count] per column of COLUMNS, and of RAREST if it is there. Raises ValueError when the packed
        form does not fit.

        ``record``: bytes from the sample's first tar header to the next sample's; ``image``: bytes of the image file,
        which starts 512 bytes into the record; ``width``, ``height``: pixels; ``label``: code points of the text;
        ``rarest``: how often the label's rarest character occurs in all labels of the direction and split.
        """
        return unpack_columns(self.samples, self.count)


def pack_columns(columns: Sequence[Iterable[int]]) -> dict[str, Any]:
    """The ``samples`` of a sidecar from columns in the order of COLUMNS, and maybe that of RAREST after them.

    OverflowError when a value is too large.
    """
    layout = (*COLUMNS, RAREST)[: max(len(columns), len(COLUMNS))]
    data = b"".join(np.array(column, kind).tobytes() for (_, kind), column in zip(layout, columns, strict=True))
    packed = base64.b64encode(zlib.compress(data, 6)).decode()
    return {"columns": [list(column) for column in layout], "data": packed}


def unpack_columns(samples: Mapping[str, Any], count: int) -> dict[str, NDArray[Any]]:
    """The inverse of `pack_columns` for ``count`` samples. Raises ValueError."""
    try:
        kinds = [(str(name), np.dtype(kind)) for name, kind in samples["columns"]]
        data = zlib.decompress(base64.b64decode(samples["data"], validate=True))
    except (KeyError, TypeError, ValueError, binascii.Error, zlib.error) as error:
        raise ValueError(f"sidecar columns cannot be unpacked: {error}") from None
    if len(data) != count * sum(kind.itemsize for _, kind in kinds):
        raise ValueError(f"sidecar columns hold {len(data)} bytes, which is not {count} samples")
    result: dict[str, NDArray[Any]] = {}
    offset = 0
    for name, kind in kinds:
        result[name] = np.frombuffer(data, kind, count, offset)
        offset += count * kind.itemsize
    if missing := {name for name, _ in COLUMNS} - result.keys():
        raise ValueError(f"sidecar columns lack {', '.join(sorted(missing))}")
    return result


@dataclass(frozen=True)
class ShardEntry:
    """A line of the manifest."""

    name: str
    count: int
    bytes: int
    sha256: str
    sidecar_sha256: str


@dataclass(frozen=True)
class Manifest:
    """What one direction's directory holds, written once all of it is there."""

    direction: str
    identity: str
    recipe: Mapping[str, Any]
    charset: str  # every character, in the order of the classes
    charset_sha256: str
    image: str
    splits: Mapping[str, tuple[ShardEntry, ...]]

    def to_json(self) -> _Bytes:
        """The manifest file."""
        return document(
            {
                "format": FORMAT,
                "direction": self.direction,
                "identity": self.identity,
                "recipe": self.recipe,
                "charset": {"sha256": self.charset_sha256, "characters": self.charset},
                "image": self.image,
                "splits": {
                    split: {
                        "samples": sum(entry.count for entry in entries),
                        "bytes": sum(entry.bytes for entry in entries),
                        "shards": [asdict(entry) for entry in entries],
                    }
                    for split, entries in self.splits.items()
                },
            }
        )

    @classmethod
    def parse(cls, data: _Bytes) -> Manifest:
        """The manifest in a file's bytes. Raises ValueError, also when its sums are not those of its shards."""
        values = _mapping(data, "manifest")
        try:
            charset = values.pop("charset")
            splits = {
                split: tuple(ShardEntry(**entry) for entry in part["shards"])
                for split, part in values["splits"].items()
            }
            for split, part in values.pop("splits").items():
                sums = {"samples": sum(s.count for s in splits[split]), "bytes": sum(s.bytes for s in splits[split])}
                if sums != {"samples": part["samples"], "bytes": part["bytes"]}:
                    raise ValueError(f"manifest sums of {split} are not those of its shards, which give {sums}")
            return cls(charset=charset["characters"], charset_sha256=charset["sha256"], splits=splits, **values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"manifest with missing or unknown fields: {error}") from None


def _mapping(data: bytes, what: str) -> dict[str, Any]:
    """The JSON object in ``data``, without its ``format``, which must be ours."""
    try:
        values = json.loads(data)
    except ValueError as error:
        raise ValueError(f"{what} is not JSON: {error}") from None
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise ValueError(f"{what} is not of format {FORMAT}, the only one that this version reads")
    return values
