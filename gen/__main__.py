"""``python -m gen --out shards --n 20k``: see ``gen.cli``."""

import sys

from gen import command

if __name__ == "__main__":  # workers import this file too
    command.quiet("python -m gen")
    from gen.cli import main

    sys.exit(main())
