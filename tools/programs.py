"""Programs of the system that tools run.

python -m tools.bench_fetch --shards 1 --rounds 1
"""

from __future__ import annotations

import os
import shutil

from gen.errors import UserError


def find_program(name: str, package: str, why: str) -> str:
    """Where a program is, also where a user's path does not lead. Raises `UserError`, saying ``why`` it is wanted."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin")
    if found is None:
        raise UserError(f"{name} is not installed, {why}: apt-get install {package}")
    return found
