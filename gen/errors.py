"""The one exception that a person can mend: ``python -m gen --n 10X`` shows it as a single line, with exit code 2."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what the user gave. The message says what happened, the value, the file, and what to do next."""
