"""What tells two recipes apart: one hash of everything that decides a sample's bytes, and the words for a difference.

python -c "from gen.identity import differences; print(differences({'a': {'b': 1}}, {'a': {'b': 2}}))"
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_SHOWN = 4  # differing keys in a message


def canonical(value: object) -> bytes:
    """JSON that is the same bytes for equal values: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def identity_of(parts: Mapping[str, object]) -> str:
    """The identity of a recipe: sha256 (hex) of the canonical JSON of everything that decides a sample's bytes."""
    return hashlib.sha256(canonical(parts)).hexdigest()


def differences(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The keys whose values differ, with both."""
    held, wanted, fonts = dict(held), dict(wanted), ""
    names = [sorted(str(font.get("name")) for font in side.get("fonts", ())) for side in (held, wanted)]
    if names[0] != names[1]:  # one word for what would be a hundred keys
        only = [", ".join(sorted(set(names[k]) - set(names[1 - k]))[:3]) or "none" for k in (0, 1)]
        fonts = (
            f"fonts are {len(names[0])} there and {len(names[1])} here (only there: {only[0]}; only here: {only[1]})"
        )
        held["fonts"] = wanted["fonts"] = []
    left, right = dict(_flat(held)), dict(_flat(wanted))
    keys = [key for key in {**left, **right} if left.get(key, "absent") != right.get(key, "absent")]
    shown = [f"{key} is {left.get(key, 'absent')} there and {right.get(key, 'absent')} here" for key in keys[:_SHOWN]]
    if len(keys) > _SHOWN:
        shown.append(f"{len(keys) - _SHOWN} more differ")
    return "; ".join([fonts, *shown] if fonts else shown)


def _flat(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf of nested JSON under a dotted name; items of a list that have a name go by it."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    elif (
        isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(item, Mapping) for item in value)
    ):
        for position, item in enumerate(value):
            label = item.get("name", position) if isinstance(item, Mapping) else position
            yield from _flat(item, f"{name}.{label}")
    else:
        text = json.dumps(value, ensure_ascii=False)
        yield name, text if len(text) <= 40 else text[:37] + "…"
