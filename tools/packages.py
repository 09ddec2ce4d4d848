"""Download packages with apt and npm as they come, without root, and take single files out of them.

python -m tools.fetch_fonts --only unifont
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import IO

_TIMEOUT = 1800  # seconds for one package; the largest are 50 MB


class PackageError(Exception):
    """A package, or a file in it, cannot be had; the message is the reason for people."""


class Unreachable(PackageError):
    """The manager is missing or cannot reach its archive: its other packages will fail alike."""


class Apt:
    """Debian and Ubuntu packages, through private state folders, so that the system's own lists stay untouched."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._updated = False

    def download(self, package: str, version: str) -> Path:
        """Return the downloaded .deb, of this version if the archive still has it, else of its current one."""
        self._update()
        try:
            self._run("download", f"{package}={version}")
        except PackageError as error:
            if "was not found" not in str(error):
                raise
            self._run("download", package)
        return _only_file(self._work, "*.deb")

    def _update(self) -> None:
        if self._updated:
            return
        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise Unreachable(f"comes from apt, but there is no {tool} here")
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (self._work / folder).mkdir(parents=True)
        try:
            self._run("update")
        except PackageError as error:
            raise Unreachable(str(error)) from None
        self._updated = True

    def _run(self, *arguments: str) -> None:
        options = [
            f"Dir::State={self._work}/state",
            "Dir::State::status=/var/lib/dpkg/status",
            f"Dir::Cache={self._work}/cache",
            "Debug::NoLocking=1",
            "Acquire::Retries=3",
            "APT::Update::Error-Mode=any",  # else a failed update exits with 0
            "APT::Sandbox::User=root",  # root would switch to a user who cannot write here
        ]
        command = ["apt-get", "-qq", *(word for option in options for word in ("-o", option)), *arguments]
        _call(command, self._work)


class Npm:
    """Packages of the npm registry."""

    def __init__(self, work: Path) -> None:
        self._work = work

    def download(self, package: str, version: str) -> Path:
        """Return the downloaded .tgz, of this version if the registry still has it, else of its newest one."""
        if shutil.which("npm") is None:
            raise Unreachable("comes from npm, but there is no npm here")
        self._work.mkdir(exist_ok=True)
        try:
            self._pack(f"{package}@{version}")
        except PackageError as error:
            if "No matching version" not in str(error):
                raise
            self._pack(package)
        return _only_file(self._work, "*.tgz")

    def _pack(self, spec: str) -> None:
        try:
            _call(["npm", "pack", "--ignore-scripts", "--loglevel=error", spec], self._work)
        except PackageError as error:
            if "No matching version" in str(error) or "E404" in str(error):
                raise
            raise Unreachable(str(error)) from None


def _only_file(folder: Path, pattern: str) -> Path:
    """What a manager just downloaded; each archive is deleted before the next one is asked for."""
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise PackageError(f"the download left {len(found)} {pattern} files where one was expected")
    return found[0]


def _call(command: list[str], folder: Path) -> None:
    """Run a command in `folder`; PackageError with its own first complaint when it fails."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            env={**os.environ, "LC_ALL": "C"},  # messages are searched for English words
        )
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{command[0]} did not finish within {_TIMEOUT // 60} minutes") from None
    except OSError as error:
        raise Unreachable(f"{command[0]} cannot be started: {error.strerror}") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("E:", "npm ERR!", "npm error"))] or lines
        shown = "; ".join(errors[:3]) or f"exit code {done.returncode}"
        raise PackageError(f"{command[0]} {command[-1]} failed: {shown}")


def take_file(archive: Path, member: str, work: Path) -> Path:
    """Copy one file out of a .deb or .tgz into a temporary file in `work`; PackageError when it is not in there."""
    try:
        if archive.suffix != ".deb":
            with archive.open("rb") as stream:
                return _take(stream, "r|gz", archive, member, work)
        # As a stream: the archive with most fonts unpacks to more than 100 MB that nobody needs.
        command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as unpacker:
            assert unpacker.stdout is not None
            try:
                return _take(unpacker.stdout, "r|", archive, member, work)
            finally:
                unpacker.kill()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise PackageError(f"{archive.name} cannot be unpacked ({error}); fetch again") from None


def _take(stream: IO[bytes], mode: str, archive: Path, member: str, work: Path) -> Path:
    with tarfile.open(fileobj=stream, mode=mode) as tar:  # type: ignore[call-overload]
        for info in tar:
            if info.name.removeprefix("./") != member:
                continue
            source = tar.extractfile(info) if info.isfile() else None
            if source is None:
                raise PackageError(f"{member} in {archive.name} is not an ordinary file")
            handle, name = tempfile.mkstemp(dir=work)
            with os.fdopen(handle, "wb") as target:
                shutil.copyfileobj(source, target)
            os.chmod(name, 0o644)
            return Path(name)
    raise PackageError(f"{archive.name} has no file {member}: this version of the package is laid out differently")
