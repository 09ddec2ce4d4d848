"""``python -m infer line.png``: see ``infer.cli``."""

import sys
import warnings

from gen import command

if __name__ == "__main__":
    command.quiet("python -m infer")
    warnings.filterwarnings("ignore", module="PIL")  # on files that are damaged: each has a line of its own
    from infer.cli import main

    sys.exit(main())
