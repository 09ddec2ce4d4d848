"""Pack what a machine with a GPU and no network lacks into parts to carry there: fonts and Python packages.

    python -m tools.gpu_pack                # .gpu/1, .gpu/2 …: some minutes; see tools/gpu_recipe.md

The font files are carried as they are, compressed together without loss, so that the same lines are drawn there as
here. All the parts and the packages' versions come from this machine; the other one needs only Python with torch.
"""

from __future__ import annotations

import argparse
import io
import lzma
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from gen import command
from gen.errors import UserError
from gen.fonts import CatalogueFont, find_catalogue_fonts
from tools.fetch_fonts import select
from tools.gpu_parts import ARCHIVE, cut

ROOT = Path(__file__).parent.parent
TREE = 64 << 20  # bytes that may travel in one call, the repository's own files included
SPARE = 1 << 20  # of them, for what changes in the repository before the parts travel
PACKAGES = (  # what gen and train import and the machine's image does not have
    "annotated-types", "freetype-py", "pydantic", "pydantic-core", "rapidfuzz", "typing-extensions",
    "typing-inspection", "numpy",  # numba may not take the image's numpy yet
)  # fmt: skip
PLATFORMS = tuple(f"manylinux{name}_x86_64" for name in ("_2_28", "_2_27", "_2_17", "2014", "_2_12", "2010", "1"))
_FILTER = {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 27}  # some fonts share outlines


def pack(out: Path, entries: Sequence[CatalogueFont], packages: Sequence[str], python: str, size: int) -> list[Path]:
    """Write the archive's parts as ``out/1/…``, ``out/2/…``, each at most ``size`` bytes; their paths.

    Raises `UserError` when a font is not the catalogue's or a package cannot be had.
    """
    fonts, lacking, _ = find_catalogue_fonts(strict=True, entries=entries)
    if lacking:
        raise UserError(f"{len(lacking)} fonts are not here, {lacking[0].name} first: {lacking[0].reason}")
    paths = {font.name: font.path for font in fonts}
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".packing-", dir=out) as folder:
        work = Path(folder)
        _packages(work / "site", packages, python)
        files = [(f"site/{path.relative_to(work / 'site')}", path) for path in _files(work / "site")]
        files += sorted(((_place(entry), paths[entry.name]) for entry in entries), key=lambda pair: pair[1].suffix)
        with (
            lzma.open(work / ARCHIVE, "wb", filters=[_FILTER]) as stream,
            tarfile.open(fileobj=stream, mode="w") as tar,
        ):
            for name, path in tqdm(files, unit="file", disable=None):
                _add(tar, name, path.read_bytes())
            for module in sorted({entry.file.partition("/")[0] for entry in entries if entry.manager == "pip"}):
                _add(tar, f"site/{module}/__init__.py", b"")
        for old in out.glob(f"[0-9]*/{ARCHIVE}.*-of-*"):  # of an earlier pack
            old.unlink()
            with suppress(OSError):
                old.parent.rmdir()
        parts = []
        for number, part in enumerate(cut(work / ARCHIVE, work / "parts", size), 1):
            (out / str(number)).mkdir(exist_ok=True)
            parts.append(part.rename(out / str(number) / part.name))
    return parts


def _place(entry: CatalogueFont) -> str:
    """Where the archive has a font: as an importable package's file, or in the data folder."""
    return f"site/{entry.file}" if entry.manager == "pip" else f"data/fonts/{entry.name}/{entry.basename}"


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    tar.addfile(info, io.BytesIO(data))


def _packages(site: Path, packages: Sequence[str], python: str) -> None:
    """Install wheels for the other machine's Python into a folder, in the versions that are installed here."""
    site.mkdir()
    if not packages:
        return
    wanted = [name if "==" in name else f"{name}=={version(name)}" for name in packages]
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary=:all:",
        "--implementation", "cp", "--python-version", python, "--target", str(site),
        *(part for name in PLATFORMS for part in ("--platform", name)), *wanted,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise UserError(f"pip cannot fetch {' '.join(wanted)}: {'; '.join(errors[:2]) or done.stderr[-200:]}")


def tree_bytes() -> int:
    """What of this repository travels with every call: tracked files, and untracked ones that are not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sum(path.stat().st_size for name in listed.split("\0") if name and (path := ROOT / name).is_file())


def room(tree: int) -> int:
    """How large a part may be beside ``tree`` bytes of the repository's own. Raises `UserError` where there is none."""
    if (size := TREE - SPARE - tree) <= 0:
        raise UserError(f"{ROOT} holds {tree / 1e6:.1f} MB, too much for one call: see git status for what is new")
    return size


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line; return the exit code."""
    parser = command.Parser(prog="python -m tools.gpu_pack", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / ".gpu", metavar="DIR", help="default: .gpu in the clone")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these fonts of the catalogue")
    parser.add_argument("--part-mb", type=int, metavar="N", help="largest part (default: what a call has room for)")
    parser.add_argument("--python", default="3.12", metavar="X.Y", help="of the other machine (default: %(default)s)")
    parser.add_argument(
        "--packages", nargs="*", default=PACKAGES, metavar="NAME[==VERSION]",
        help="instead of those that the machine's image is known to lack",
    )  # fmt: skip
    return command.run(parser, argv, run)


def run(args: argparse.Namespace) -> None:
    """Pack, and say what fits."""
    tree = tree_bytes()
    largest = args.part_mb * 10**6 if args.part_mb else room(tree)
    parts = pack(args.out, select(args.only), args.packages, args.python, largest)
    for part in parts:
        size = part.stat().st_size
        fits = "fits a call" if size + tree < TREE else "more than a call takes: give a smaller --part-mb"
        print(f"{part.parent}: {size / 1e6:.1f} MB, with {tree / 1e6:.1f} MB of code {fits}")
    print("next: tools/gpu_recipe.md, the first call")


if __name__ == "__main__":
    sys.exit(main())
