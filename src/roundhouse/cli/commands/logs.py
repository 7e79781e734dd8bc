"""`logs AGENT`: show an engine's log."""

from __future__ import annotations

import argparse

from ...errors import UsageError
from ...plan import deployed
from ..command import Answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the agent and the number of lines."""
    parser.add_argument("agent", metavar="AGENT", help="an agent of this host")
    parser.add_argument("-f", "--follow", action="store_true", help="also print new lines until Ctrl-C")
    parser.add_argument(
        "-n", type=int, default=100, metavar="N", dest="lines", help="show the last N lines (default: 100)"
    )


def check(args: argparse.Namespace) -> None:
    """Raise UsageError for options that exclude each other, and for a number below 0."""
    if args.lines < 0:
        raise UsageError("lines_invalid", "-n is {lines}.", "Write a whole number from 0.", lines=args.lines)
    if args.json and args.follow:
        raise UsageError("follow_as_json", "-f does not end, and --json prints one object.", "Remove one of them.")


def run(args: argparse.Namespace) -> Answer:
    """Show the log."""
    from ...host import journal

    agent = deployed.find(deployed.load(), args.agent)
    if args.json:
        return {"agent": agent["name"], "lines": journal.log(agent["unit"], args.lines)}, ""
    journal.print_log(agent["unit"], args.lines, follow=args.follow)
    return None, ""
