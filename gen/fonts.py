"""Fonts: the catalogue, where its files are, and the fonts that users name themselves.

python -m tools.fetch_fonts     # fetches the catalogue of configs/fonts.yaml
python -m tools.fonts           # shows what the fonts cover
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import pydantic
import yaml
from pydantic.dataclasses import dataclass as checked_dataclass

from gen import paths
from gen.charset import is_gb2312_hanzi
from gen.errors import UserError
from gen.fontfile import SUFFIXES, Axes, faces_in, instance, sha256_files
from gen.raster import Face

PIP_ONLY_COVERS = 28_944  # characters of the packaged charset that the two fonts from pip cover

_AT_FACE = re.compile(r"(.+)#([^#@]*)$")
_AT_AXES = re.compile(r"(.+)@([^#@]*=[^#@]*)$")
_BMP_HAN = (*range(0x3400, 0x4DC0), *range(0x4E00, 0xA000), *range(0xF900, 0xFB00))


@dataclass(frozen=True)
class Font:
    """One face of one file, ready to draw with; `axes` fixes a variable font, `excluded` is never drawn with it."""

    name: str
    path: Path
    face: int
    axes: Axes
    style: str
    excluded: str
    sha256: str

    def identity(self) -> dict[str, object]:
        """What decides the pixels and the metadata, as JSON: the path is no part of it, the bytes are."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "face": self.face,
            "axes": dict(self.axes),
            "style": self.style,
            "excluded": hashlib.sha256(self.excluded.encode("utf-8")).hexdigest() if self.excluded else "",
        }


@dataclass(frozen=True)
class Missing:
    """A catalogue font that is not at hand, and why."""

    name: str
    reason: str


@checked_dataclass(frozen=True, config=pydantic.ConfigDict(extra="forbid"))
class CatalogueFont:
    """One entry of configs/fonts.yaml, whose head explains the fields."""

    name: str
    style: str
    licence: str
    manager: Literal["pip", "apt", "npm"]
    package: str
    version: str
    file: str
    face: int
    sha256: str
    exclude: str = ""
    hanzi: Literal["all", "gb2312"] = "all"
    suspects: str = ""

    @property
    def basename(self) -> str:
        """The file's own name, without the folders of the package."""
        return self.file.rsplit("/", 1)[-1]

    @property
    def excluded(self) -> str:
        """Every character that this font must not draw, in code point order."""
        never = set(self.exclude)
        if self.hanzi == "gb2312":
            never |= _hanzi_outside_gb2312()
        return "".join(sorted(never))

    def path(self, folder: Path | None = None) -> Path | None:
        """Where the file is or would be: in `folder` (default: the fonts folder), or in an installed pip package.

        None when a package from pip is not installed. Finding it does not import it.
        """
        if self.manager != "pip":
            return (folder or fonts_dir()) / self.name / self.basename
        module, _, inside = self.file.partition("/")
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(next(iter(spec.submodule_search_locations))) / inside


def fonts_dir() -> Path:
    """Where `tools.fetch_fonts` puts the catalogue's files."""
    return paths.data_dir() / "fonts"


@lru_cache(maxsize=1)
def _hanzi_outside_gb2312() -> frozenset[str]:
    return frozenset(char for char in map(chr, _BMP_HAN) if not is_gb2312_hanzi(char))


@lru_cache(maxsize=4)
def catalogue(path: Path | None = None) -> tuple[CatalogueFont, ...]:
    """Read configs/fonts.yaml (or `path`); UserError names the entry and the field that is wrong."""
    source = path or paths.configs_dir() / "fonts.yaml"
    try:
        loaded = yaml.safe_load(source.read_text(encoding="utf-8"))
        return tuple(pydantic.TypeAdapter(list[CatalogueFont]).validate_python(loaded["fonts"]))
    except OSError as error:
        raise UserError(f"cannot read the font catalogue {source}: {error.strerror}; reinstall the package") from None
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError) as error:
        problem = " ".join(str(error).split())
        raise UserError(f"the font catalogue {source} is not as its head describes: {problem}; correct it") from None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"the font catalogue {source}, entry {where}: {first['msg']}; correct it") from None


def find_catalogue_fonts(
    strict: bool = False, entries: Sequence[CatalogueFont] | None = None, folder: Path | None = None
) -> tuple[list[Font], list[Missing], list[str]]:
    """Return the catalogue fonts at hand, the missing ones, and warnings about files of another version.

    With `strict` a file of another version counts as missing. A file that is no font raises UserError.
    """
    present: list[tuple[CatalogueFont, Path]] = []
    missing = []
    for entry in catalogue() if entries is None else entries:
        path = entry.path(folder)
        if path is None:
            missing.append(Missing(entry.name, f"run: pip install {entry.package}=={entry.version}"))
        elif not path.is_file():
            missing.append(Missing(entry.name, f"{path} does not exist; run: python -m tools.fetch_fonts"))
        else:
            present.append((entry, path))
    fonts, warnings = [], []
    for (entry, path), digest in zip(present, sha256_files([path for _, path in present]), strict=True):
        if digest != entry.sha256:
            note = f"{path} is not version {entry.version} of {entry.package} (sha256 {digest[:12]}…)"
            if strict:
                missing.append(Missing(entry.name, note))
                continue
            faces_in(path)  # the bytes are unknown: at least they must be a font
            warnings.append(f"{entry.name}: {note}; the recipe identity differs from the catalogue's")
        fonts.append(Font(entry.name, path, entry.face, (), entry.style, entry.excluded, digest))
    return fonts, missing, warnings


def fonts_from(args: Iterable[str]) -> list[Font]:
    """Open the fonts that a user names: DIR (searched recursively), FILE, FILE#2, FILE@wght=700, FILE#2@wght=700.

    `#k` is the face of a TTC, from 0; without it every face is taken. `@` fixes axes of a variable font; without a
    weight it opens at Regular where the axis spans 400, not at its thinnest. Files of the catalogue are known by
    their content and keep their names and exclusions. A font given twice counts once. UserError for what is missing,
    empty, cut short or no font.
    """
    wanted: list[tuple[Path, int, Axes]] = []
    for arg in args:
        path, face, axes = _parse(arg)
        if not path.is_dir():
            files = [path]
        elif face is not None or axes:
            raise UserError(f"{arg}: # and @ choose inside a font file, but {path} is a folder; name the file")
        else:
            files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
            if not files:
                raise UserError(f"the font folder {path} holds no file ending in {' '.join(SUFFIXES)}; check the path")
        for file in files:
            count = faces_in(file)
            if face is not None and face >= count:
                raise UserError(f"{arg}: {file} has the faces 0 to {count - 1}; choose one of them")
            wanted += [(file, each, axes) for each in (range(count) if face is None else (face,))]
    known = {entry.sha256: entry for entry in catalogue()}
    files = list(dict.fromkeys(file for file, _, _ in wanted))
    digests = dict(zip(files, sha256_files(files), strict=True))
    fonts: dict[tuple[str, int, Axes], Font] = {}
    names: set[str] = set()
    for file, face, asked in wanted:
        digest, axes = digests[file], instance(file, face, asked)
        if (digest, face, axes) in fonts:
            continue
        Face(file, face, dict(axes))  # FreeType's own opinion, and that of the axes' ranges
        entry = known.get(digest)
        name = _name(file, face, asked, entry)
        unique, number = name, 2
        while unique in names:
            unique, number = f"{name}-{number}", number + 1
        names.add(unique)
        style, excluded = (entry.style, entry.excluded) if entry else ("user", "")
        fonts[digest, face, axes] = Font(unique, file, face, axes, style, excluded, digest)
    return list(fonts.values())


def covered_by(font: Font, text: str) -> str:
    """Return the characters of `text` that the font draws: a real outline, and not excluded.

    UserError when there are none, or when the file is damaged.
    """
    never = set(font.excluded)
    flags = Face(font.path, font.face, dict(font.axes)).covered(text)
    found = "".join(char for char, flag in zip(text, flags, strict=True) if flag and char not in never)
    if not found:
        raise UserError(
            f"the font {font.name} ({font.path}) covers none of the {len(text)} characters of the charset; leave it out"
        )
    return found


def _parse(arg: str) -> tuple[Path, int | None, Axes]:
    """Split FILE, FILE#face, FILE@tag=value,... or both in either order; a file so named wins over the notation."""
    if not arg.strip():
        raise UserError("a font is given as an empty text: name a file or a folder, or leave --fonts out")
    path = arg
    face: int | None = None
    axes: Axes = ()
    while not Path(path).expanduser().exists():
        if match := _AT_FACE.match(path):
            path, text = match.groups()
            if not text.isdecimal():
                raise UserError(f"{arg}: {text!r} is not the number of a face; write FILE#0, FILE#1 and so on")
            face = int(text)
        elif match := _AT_AXES.match(path):
            path, text = match.groups()
            axes = tuple(sorted((*axes, *_axes(arg, text))))
        else:
            raise UserError(f"the font {path} does not exist; check the path")
    return Path(path).expanduser(), face, axes


def _axes(arg: str, text: str) -> Axes:
    pairs = [pair.partition("=") for pair in text.split(",")]
    try:
        return tuple(sorted((tag.strip(), float(value)) for tag, _, value in pairs))
    except ValueError:
        raise UserError(f"{arg}: {text!r} is not a list of axes; write FILE@wght=700,wdth=90 for example") from None


def _name(file: Path, face: int, asked: Axes, entry: CatalogueFont | None) -> str:
    """What samples call this font: the catalogue's name, else the file's, with what was chosen inside the file."""
    if entry and face == entry.face and not asked:
        return entry.name
    base = entry.name if entry else file.stem
    face_part = f"#{face}" if face or (entry and face != entry.face) else ""
    return base + face_part + ("@" + ",".join(f"{tag}={value:g}" for tag, value in asked) if asked else "")
