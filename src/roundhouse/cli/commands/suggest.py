"""`suggest`: list models for each role on given cards."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import command
from ..command import Answer

ON = command.ON_NONE
EPILOG = """\
Without --gpu and --vram-gib, the command asks this machine's cards. The exit status is 0 even if a role has no model.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the cards, and the file of the roster."""
    parser.add_argument("--gpu", metavar="NAME", help='a card by name, such as "RTX 4090"')
    parser.add_argument("--vram-gib", type=float, metavar="GIB", help="the card's total memory as CUDA states it")
    parser.add_argument("--gpus", type=int, metavar="N", help="number of these cards in the host (default: 1)")
    parser.add_argument("--shared-display", action="store_true", help="a desktop or WSL also uses the card")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the roster into a new file")


def run(args: argparse.Namespace) -> Answer:
    """Show the candidates of each role, and write the roster where a file is named."""
    from .. import plan, plan_suggest

    return plan_suggest.result(args, *plan.suggested_cards(args))
