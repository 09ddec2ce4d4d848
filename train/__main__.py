"""``python -m train --data shards --out runs/h``: see ``train.cli``."""

import sys

from gen import command

if __name__ == "__main__":  # workers import this file too
    command.quiet("python -m train", terminated=0)
    from train.cli import main

    sys.exit(main())
