"""What the command and the service may both be told about reading.

python -m infer --help
"""

from __future__ import annotations

import argparse

from infer.looks import LOOKS, PRESET
from infer.prior import PRIORS


def add_reading(parser: argparse.ArgumentParser) -> None:
    """``--charset``, ``--allow``, ``--prior`` and ``--looks``."""
    add = parser.add_argument
    add("--charset", metavar="FILE", help="what checkpoints of the older project were trained with, its all_words.txt")
    add("--allow", metavar="CHARS", help="read these characters only: gb2312, 0123456789 or a file with them")
    likely = "what is likely: as in text, where a line is text (default), or nothing"
    add("--prior", choices=PRIORS, default="auto", help=likely)
    looks = f"at a line that is not sure (default: {PRESET}; 1 is fastest)"
    add("--looks", type=int, choices=LOOKS, default=PRESET, help=looks)
