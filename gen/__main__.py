"""``python -m gen --out shards --n 20k``: see ``gen.cli``."""

import sys

if __name__ == "__main__":  # workers import this file too
    from gen.cli import main

    sys.exit(main())
