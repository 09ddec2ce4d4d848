"""Settings files for every part: YAML laid over defaults, ``--set a.b=c`` laid over that, and no unknown key.

python -m gen --out shards --n 500 --dry-run --set effects.rotatoin.p=0.5
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from gen import paths
from gen.errors import UserError

T = TypeVar("T")
_DUMP: TypeAdapter[Any] = TypeAdapter(Any)
_NOT_YAML = (yaml.YAMLError, ValueError, AttributeError)  # the last two for an impossible date and the like


def to_dict(config: object) -> dict[str, Any]:
    """Plain JSON-able values of a config, every field stated."""
    assert is_dataclass(config)
    result: dict[str, Any] = _DUMP.dump_python(config, mode="json")
    return result


def validate(adapter: TypeAdapter[T], defaults: T, values: Mapping[str, Any], source: str) -> T:
    """``values`` laid over the defaults, checked; or a `UserError` of one line about the first thing that is wrong."""
    try:
        whole = merge(to_dict(defaults), values)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    try:
        return adapter.validate_python(whole)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise UserError(f"{source}: {_explain(problem, defaults, whole, len(error.errors()))}") from None


def _explain(problem: Any, defaults: object, values: Mapping[str, Any], count: int) -> str:
    kinds = [section.get("kind") for section in values.values() if isinstance(section, Mapping)]
    location = [str(part) for part in problem["loc"] if part not in kinds]  # a union's member stands in its path
    where = ".".join(location) or "the file"
    more = f" (and {count - 1} more)" if count > 1 else ""
    if problem["type"] == "unexpected_keyword_argument":
        near = difflib.get_close_matches(location[-1], _known_keys(location[:-1], defaults, values), n=1)
        hint = f"did you mean {'.'.join([*location[:-1], near[0]])}?" if near else "the files in configs/ have all keys"
        return f"unknown key {where}; {hint}{more}"
    if problem["type"] == "literal_error":
        near = difflib.get_close_matches(
            str(problem["input"]), re.findall("'([^']+)'", problem["ctx"]["expected"]), n=1
        )
        more = f"; did you mean {near[0]}?{more}" if near else more
    message = problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    shown = "" if isinstance(value, Mapping) or is_dataclass(value) or "ArgsKwargs" in repr(value) else f" {value!r}"
    return f"{where}{shown}: {message[0].lower() + message[1:]}{more}"


def _known_keys(location: Sequence[str], defaults: object, values: Mapping[str, Any]) -> list[str]:
    """The names that the schema allows at a place: those of the defaults there, and where a section has another
    ``kind`` than its default none can be told."""
    here: Any = defaults
    for part in location:
        if isinstance(here, tuple):  # its members are alike
            here, values = here[0] if here else None, values[int(part)]  # type: ignore[index]
            continue
        here, values = getattr(here, part, None), values.get(part, {})
        kind = values.get("kind", "") if isinstance(values, Mapping) else ""
        if kind != getattr(here, "kind", ""):
            return []
    return [field.name for field in fields(here)] if is_dataclass(here) else []


def merge(base: Mapping[str, Any], over: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """``base`` with the values of ``over``, section by section; a section whose ``kind`` changes starts afresh. In a
    list the keys are places, from 0. ``where``: of the base, as ``stages.``. Raises `UserError` for a place that a list
    does not have."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = value
        if isinstance(old, list) and isinstance(value, Mapping):
            result[key] = _merge_places(f"{where}{key}", old, value)
        elif isinstance(old, Mapping) and isinstance(value, Mapping):
            kind = old.get("kind")
            if value.get("kind", kind) == kind:
                result[key] = merge(old, value, f"{where}{key}.")
    return result


def _merge_places(name: str, old: Sequence[Any], over: Mapping[Any, Any]) -> list[Any]:
    held = {str(place): value for place, value in enumerate(old)}
    wanted = {str(place): value for place, value in over.items()}  # in YAML they may be numbers
    for place in wanted:
        if place not in held:
            raise UserError(f"{name}.{place}: {name} is a list, its places are {', '.join(held) or 'none'}")
    return list(merge(held, wanted, f"{name}.").values())


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises `UserError` when it is missing or not one."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"config {path} cannot be read: {error}") from None
    except _NOT_YAML as error:
        raise UserError(f"config {path} is not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"config {path} is nested too deep to be a recipe") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"config {path} must be a mapping of names to values")
    return values


def parse_set(text: str) -> dict[str, Any]:
    """``a.b=c`` as nested values, c read as YAML. Raises `UserError` when it has another shape."""
    name, equals, value = text.partition("=")
    if not equals or not all(name.split(".")):
        raise UserError(f"--set {text}: write it as section.key=value, for example --set effects.rotation.p=0.5")
    try:
        nested: Any = yaml.safe_load(value)
    except (*_NOT_YAML, RecursionError):
        value = value[:40]
        raise UserError(f"--set {text[:60]}: {value!r} is not a YAML value") from None
    for part in reversed(name.split(".")):
        nested = {part: nested}
    assert isinstance(nested, dict)
    return nested


def find_config(name: str) -> Path:
    """A file as given, or the packaged one of that name (``gen-classic`` means ``configs/gen-classic.yaml``)."""
    given = Path(name)
    packaged = paths.configs_dir() / (name if name.endswith(".yaml") else name + ".yaml")
    if given.is_file() or not packaged.is_file():
        if not given.is_file():
            near = ", ".join(sorted(path.stem for path in paths.configs_dir().glob("*-*.yaml")))
            raise UserError(f"config {name} does not exist: give a YAML file, or one of {near}")
        return given
    return packaged


def load(
    adapter: TypeAdapter[T],
    defaults: T,
    name: str | Path | None,
    sets: Sequence[str],
    words: Mapping[str, str] | None = None,
) -> T:
    """The settings of a YAML file (None: the defaults), with ``--set`` values laid over them.

    ``words``: sections that may be given as one word, and which of their keys it is the value of.
    """
    path = find_config(str(name)) if name is not None else None
    values: dict[str, Any] = {}
    for layer in (read_yaml(path) if path else {}, *map(parse_set, sets)):
        spelt = {k: {words[k]: v} if words and k in words and isinstance(v, str) else v for k, v in layer.items()}
        values = merge(values, spelt)
    source = str(path) if path else "settings"
    return validate(adapter, defaults, values, f"{source} with --set" if sets else source)
