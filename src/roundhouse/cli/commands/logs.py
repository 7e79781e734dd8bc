"""`logs AGENT`: an engine's log."""

from __future__ import annotations

import argparse

from ...errors import UsageError
from ...plan import deployed
from ..command import Answer

HELP = "show the log of an agent's engine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the agent and how much of its log."""
    parser.add_argument("agent", metavar="AGENT", help="an agent of this host")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as lines come")
    parser.add_argument("-n", type=int, default=100, metavar="LINES", dest="lines", help="how many (default: 100)")


def check(args: argparse.Namespace) -> None:
    """Raise UsageError for options that exclude each other."""
    if args.lines < 0 or (args.json and args.follow):
        raise UsageError("lines_invalid", "logs takes -n with a number from 0, and -f only without --json.")


def run(args: argparse.Namespace) -> Answer:
    """Show it."""
    from ...host import journal

    agent = deployed.find(deployed.load(), args.agent)
    if args.json:
        return {"agent": agent["name"], "lines": journal.log(agent["unit"], args.lines)}, ""
    journal.print_log(agent["unit"], args.lines, follow=args.follow)
    return None, ""
