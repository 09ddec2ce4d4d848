"""Which shards make up a data set, a pure function of the numbers asked for.

    python -m gen --out shards --n 10M --dry-run

Training samples are shared out over the directions (the first takes a remainder); each direction gets its own
validation samples on top. Shard k of a split holds samples k * size up to (k + 1) * size, so a larger number later
only adds shards and completes the last one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from gen.contract import DIRECTIONS, SPLITS, shard_name
from gen.errors import UserError

_SIZE = re.compile(r"(\d[\d_]*(?:\.\d+)?(?:e\+?\d{1,2})?)([kmb]?)", re.IGNORECASE)
_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000}
MAX_SHARDS = 10**6  # the digits of a shard's name
_LARGEST = 10**12  # the digits of a sample's key

Counts = Mapping[str, Mapping[str, int]]  # direction -> split -> samples


def parse_size(text: str, what: str) -> int:
    """A number as people write it: 500, 20k, 1.5M, 1e6, 10_000. Raises `UserError` unless whole and above 0."""
    plain = text.strip()
    if re.fullmatch(r"\d{1,3}(,\d{3})+", plain, re.ASCII):  # 1,500,000, but not a decimal comma
        plain = plain.replace(",", "")
    match = _SIZE.fullmatch(plain)
    if match is None:
        raise UserError(f"{what} {text}: write a whole number above 0, such as 500, 20k, 1.5M or 1e6")
    value = Decimal(match[1].replace("_", "")) * _UNITS[match[2].lower()]
    if value != value.to_integral_value() or not 0 < value < _LARGEST:
        raise UserError(f"{what} {text} is {value.normalize():f}: give a whole number above 0 and below {_LARGEST:.0e}")
    return int(value)


def parse_slice(text: str) -> tuple[int, int]:
    """``i/n`` as two numbers, 0 <= i < n. Raises `UserError`."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip(), re.ASCII)
    if match is None or not int(match[1]) < int(match[2]):
        raise UserError(f"--slice {text}: write i/n with i from 0 to n-1, for example 0/4, 1/4, 2/4, 3/4")
    return int(match[1]), int(match[2])


def val_count(train: int) -> int:
    """Validation samples for so many training samples of a direction: 1 %, at least 200, at most 20,000."""
    return min(max(train // 100, 200), 20_000)


def share(n: int, directions: Sequence[str]) -> dict[str, dict[str, int]]:
    """``n`` training samples over the directions, and validation samples. Raises `UserError` when n is too small."""
    if n < len(directions):
        raise UserError(f"--n {n} cannot be shared by {len(directions)} directions: give --n {len(directions)} or more")
    each, rest = divmod(n, len(directions))
    result = {}
    for position, direction in enumerate(directions):
        train = each + (rest if position == 0 else 0)
        result[direction] = {"train": train, "val": val_count(train)}
    return result


@dataclass(frozen=True)
class ShardTask:
    """One shard to make: the unit of work, small and picklable."""

    direction: str
    split: str
    number: int
    start: int  # index of its first sample
    count: int
    identity: str  # of the recipe

    @property
    def name(self) -> str:
        return shard_name(self.split, self.number)

    @property
    def tar(self) -> str:
        """Where the shard goes in the store."""
        return f"{self.direction}/{self.name}.tar"

    @property
    def sidecar(self) -> str:
        """Where its sidecar goes."""
        return f"{self.direction}/{self.name}.json"


@dataclass(frozen=True)
class Plan:
    """A whole data set: how many samples of what, in shards of which size, by which recipe."""

    counts: Counts
    shard_size: int
    identity: str

    def check(self) -> None:
        """Raise `UserError` when the shards are more than their names can number."""
        most = max((max(count.values()) for count in self.counts.values()), default=0)
        if most > self.shard_size * MAX_SHARDS:
            raise UserError(
                f"{most:,} images in shards of {self.shard_size:,} are more than {MAX_SHARDS:,} shards: "
                "give a larger --shard-size"
            )

    def tasks(self, directions: Sequence[str] = DIRECTIONS) -> list[ShardTask]:
        """Every shard of the directions, in a fixed order. Raises `UserError` as `check` does."""
        self.check()
        return [
            ShardTask(
                direction,
                split,
                start // self.shard_size,
                start,
                min(self.shard_size, self.counts[direction][split] - start),
                self.identity,
            )
            for direction in DIRECTIONS
            if direction in self.counts and direction in directions
            for split in SPLITS
            for start in range(0, self.counts[direction][split], self.shard_size)
        ]

    def slice(self, position: int, slices: int) -> list[ShardTask]:
        """The shards of one of ``slices`` parts; the parts together are all, and none is in two."""
        return self.tasks()[position::slices]

    @property
    def train(self) -> int:
        """Training samples over all directions."""
        return sum(count["train"] for count in self.counts.values())

    @property
    def samples(self) -> int:
        """Samples over all directions and splits."""
        return sum(sum(count.values()) for count in self.counts.values())
