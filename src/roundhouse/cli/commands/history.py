"""`history`: list the switches and crashes."""

from __future__ import annotations

import argparse

from ...errors import UsageError
from ...plan import deployed
from ...util import console
from ..command import Answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the number of switches."""
    parser.add_argument("-n", type=int, default=100, metavar="N", dest="lines", help="list the last N (default: 100)")


def check(args: argparse.Namespace) -> None:
    """Raise UsageError for a negative number."""
    if args.lines < 0:
        raise UsageError("lines_invalid", "-n is {lines}.", "Write a whole number from 0.", lines=args.lines)


def run(args: argparse.Namespace) -> Answer:
    """List them."""
    from ...state import history

    deployed.load()
    entries = history.load()[-args.lines :] if args.lines > 0 else []
    shown = console.table(history.COLUMNS, history.table(entries))
    return {"switches": [entry.as_json() for entry in entries]}, shown
