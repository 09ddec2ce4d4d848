"""Where things live outside the clone: ``python -c "from gen import paths; print(paths.cache_dir())"``."""

from __future__ import annotations

import os
from pathlib import Path

NAME = "crnn-shards"


def _directory(own: str, xdg: str, home: str) -> Path:
    if os.environ.get(own):
        return Path(os.path.expanduser(os.environ[own]))  # leaves a user that does not exist as it is
    if os.environ.get(xdg):
        return Path(os.path.expanduser(os.environ[xdg])) / NAME
    return Path.home() / home / NAME


def cache_dir() -> Path:
    """What can be made again (glyph atlases, compiled kernels): ``CRNN_SHARDS_CACHE``, else the XDG cache folder."""
    return _directory("CRNN_SHARDS_CACHE", "XDG_CACHE_HOME", ".cache")


def data_dir() -> Path:
    """What was fetched (fonts): ``CRNN_SHARDS_DATA``, else the XDG data folder."""
    return _directory("CRNN_SHARDS_DATA", "XDG_DATA_HOME", ".local/share")


def configs_dir() -> Path:
    """The YAML files that come with the program: inside the installed package, or ``configs/`` of the clone."""
    installed = Path(__file__).parent / "configs"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "configs"
