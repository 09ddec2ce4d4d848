"""``python -m gen --out shards --n 20k``: see ``gen.cli``."""

import sys

if __name__ == "__main__":  # workers import this file too
    try:
        from gen.cli import main
    except KeyboardInterrupt:  # Ctrl-C before anything was begun
        sys.exit(130)
    sys.exit(main())
