"""``python -m train --data shards --out runs/h``: see ``train.cli``."""

from gen import command

if __name__ == "__main__":  # workers import this file too
    command.quiet("python -m train", terminated=0)
    from train.cli import main
    from train.dist import leave

    leave(main())
