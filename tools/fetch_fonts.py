"""Fetch the catalogue's 25 free fonts (218 MB of downloads) without root; what is there already stays.

    python -m tools.fetch_fonts                              # everything, into the data folder that gen looks in
    python -m tools.fetch_fonts --only unifont ma-shan-zheng
    python -m tools.fetch_fonts --strict                     # refuse other versions, exit code 1 when a font is missing

Three package managers deliver them: pip (an ordinary dependency, installed already), apt and npm. Nothing is
installed: packages are downloaded into a temporary folder, the font is taken out, verified against the catalogue's
sha256 and moved into place in one step. Where a manager or the network is missing the rest is taken.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import filelock
from tqdm import tqdm

from gen import command
from gen.errors import UserError
from gen.fontfile import faces_in, sha256_file
from gen.fonts import PIP_ONLY_COVERS, CatalogueFont, Missing, catalogue, find_catalogue_fonts, fonts_dir
from tools.packages import Apt, Npm, PackageError, Unreachable, take_file

_TEMPORARY = ".fetch-"


def fetch(entries: Iterable[CatalogueFont], dest: Path, strict: bool = False) -> dict[str, str]:
    """Fetch the entries (all from apt or npm) into `dest`; return name -> reason for those that could not be had."""
    failed: dict[str, str] = {}
    by_package: dict[tuple[str, str], list[CatalogueFont]] = {}
    for entry in entries:
        by_package.setdefault((entry.manager, entry.package), []).append(entry)
    if not by_package:
        return failed
    # Inside dest, so that the last step is a rename. The lock is held: what an earlier, killed run left is litter.
    for litter in dest.glob(_TEMPORARY + "*"):
        shutil.rmtree(litter, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=dest) as folder:
        work = Path(folder)
        managers: dict[str, Apt | Npm] = {"apt": Apt(work / "apt"), "npm": Npm(work / "npm")}
        unreachable: dict[str, str] = {}
        # disable=None: no bar when the output is no terminal
        with tqdm(by_package.items(), unit="package", disable=None) as bar:
            for (manager, package), wanted in bar:
                bar.set_description(package)
                try:
                    if manager in unreachable:
                        raise PackageError(unreachable[manager])
                    archive = managers[manager].download(package, wanted[0].version)
                except PackageError as error:
                    failed |= dict.fromkeys((entry.name for entry in wanted), str(error))
                    if isinstance(error, Unreachable):  # asking again for each package would only cost time
                        unreachable[manager] = str(error)
                    continue
                for entry in wanted:
                    try:
                        install(archive, entry, dest, work, strict)
                    except (PackageError, UserError) as error:
                        failed[entry.name] = str(error)
                archive.unlink()  # up to 50 MB each
    return failed


def install(archive: Path, entry: CatalogueFont, dest: Path, work: Path, strict: bool = False) -> None:
    """Take a font out of its package, verify it, and move it to `dest`/name/file.

    PackageError when the package lacks the file, or when `strict` and the bytes are not the catalogue's; UserError
    when the bytes are no font.
    """
    temporary = take_file(archive, entry.file, work)
    try:
        if strict and sha256_file(temporary) != entry.sha256:
            raise PackageError(f"{archive.name} holds another version than {entry.version}, which --strict refuses")
        faces_in(temporary)
        final = dest / entry.name / entry.basename
        final.parent.mkdir(exist_ok=True)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


def discard_broken(entries: Iterable[CatalogueFont], dest: Path) -> None:
    """Delete fetched files that are no fonts (a full disk, a stray editor), so that they are fetched again."""
    for entry in entries:
        path = entry.path(dest)
        if entry.manager != "pip" and path is not None and path.is_file():
            try:
                faces_in(path)
            except UserError as error:
                print(f"warning: {error}", file=sys.stderr)
                path.unlink()


def select(names: list[str] | None) -> list[CatalogueFont]:
    """The catalogue entries with these names (None: all); UserError names the unknown ones."""
    entries = list(catalogue())
    if names is None:
        return entries
    known = [entry.name for entry in entries]
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"the catalogue has no font {', '.join(unknown)}; it has: {', '.join(known)}")
    return [entry for entry in entries if entry.name in names]


def run(names: list[str] | None, dest: Path, strict: bool) -> int:
    """Fetch what is not there, report, and return the exit code."""
    entries = select(names)
    try:
        dest.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(dest / ".lock"):
            discard_broken(entries, dest)
            present, missing, _ = find_catalogue_fonts(strict, entries, dest)
            lacking = {font.name for font in missing}
            failed = fetch([e for e in entries if e.name in lacking and e.manager != "pip"], dest, strict)
    except OSError as error:
        raise UserError(f"cannot write to {dest}: {error.strerror}; choose another folder with --dest") from None
    had = len(present)
    present, missing, warnings = find_catalogue_fonts(strict, entries, dest)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for font in missing:
        print(f"missing: {font.name}: {failed.get(font.name, font.reason)}", file=sys.stderr)
    if not present:
        raise UserError(f"none of the {len(entries)} fonts could be had; see the reasons above, or use --fonts of gen")
    print(f"{len(present)} of {len(entries)} fonts are ready ({len(present) - had} fetched now into {dest})")
    if _only_pip(present_names={font.name for font in present}, missing=missing):
        print(f"only the pip fonts were found: they cover {PIP_ONLY_COVERS:,} of the 30,656 characters")
    print("next: python -m gen --out shards/ --n 20k")
    return 1 if missing and strict else 0


def _only_pip(present_names: set[str], missing: list[Missing]) -> bool:
    return bool(missing) and present_names == {entry.name for entry in catalogue() if entry.manager == "pip"}


def main(argv: list[str] | None = None) -> int:
    """Parse the command line; return the exit code."""
    parser = command.Parser(prog="python -m tools.fetch_fonts", description=__doc__.splitlines()[0])
    parser.add_argument("--dest", type=Path, default=fonts_dir(), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these fonts of the catalogue")
    parser.add_argument("--strict", action="store_true", help="refuse other versions; exit code 1 when one is missing")
    return command.run(parser, argv, lambda args: run(args.only, args.dest, args.strict))


if __name__ == "__main__":
    sys.exit(main())
