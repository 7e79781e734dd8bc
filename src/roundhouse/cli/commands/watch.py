"""`watch`: refresh the status."""

from __future__ import annotations

import argparse
import contextlib

from ...errors import UsageError
from ...plan import deployed
from ...util import console
from ..command import Answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the interval and the number of rounds."""
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="interval (default: 2)")
    parser.add_argument("--rounds", type=int, metavar="N", help="stop after N rounds (default: at Ctrl-C)")


def check(args: argparse.Namespace) -> None:
    """Raise UsageError for an invalid interval or number, and for --json."""
    if args.json:
        raise UsageError(
            "watch_as_json", "watch does not end, and --json prints one object.", "Run status --json repeatedly."
        )
    if not 0 < args.every < float("inf"):
        every = f"{args.every:g}"
        raise UsageError("every_invalid", "--every is {every}.", "Write seconds above 0, such as 2.", every=every)
    if args.rounds is not None and args.rounds < 1:
        raise UsageError(
            "rounds_invalid",
            "--rounds is {rounds}.",
            "Write a number from 1, or remove the option.",
            rounds=args.rounds,
        )


def run(args: argparse.Namespace) -> Answer:
    """Watch."""
    from ...agents import watch

    with contextlib.suppress(KeyboardInterrupt):  # how a watch ends
        watch.watch(deployed.load, args.every, args.rounds, lambda text: print(console.printable(text), flush=True))
    return None, ""
