"""What a tool could not use, and why: counted and shown in part, in a file in full.

``LeftOut().add("a.png", "no such file")``
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gen.errors import UserError

_SHOWN = 3  # names for one reason


class LeftOut:
    """Names by reason, in the order they came."""

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._items: list[tuple[str, str]] = []
        self.extend(items)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, name: str, reason: str) -> None:
        """Note one; equal reasons are counted together."""
        self._items.append((name, reason))

    def extend(self, items: Iterable[tuple[str, str]]) -> None:
        """Note many, as pairs of name and reason."""
        self._items += items

    def lines(self) -> list[str]:
        """A line for each reason: how often, and for which."""
        names: dict[str, list[str]] = {}
        for name, reason in self._items:
            names.setdefault(reason, []).append(name)
        return [
            f"{len(found):>8,} left out, {reason}: {', '.join(found[:_SHOWN])}{', …' if len(found) > _SHOWN else ''}"
            for reason, found in sorted(names.items(), key=lambda each: -len(each[1]))
        ]

    def write(self, path: Path) -> None:
        """All of them as ``NAME<TAB>REASON``. Raises `UserError` when the file cannot be written."""
        try:
            path.write_text("".join(f"{name}\t{reason}\n" for name, reason in self._items), encoding="utf-8")
        except OSError as error:
            raise UserError(f"--report {path} cannot be written: {error.strerror}") from None
