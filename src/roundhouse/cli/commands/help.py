"""`help [WORD]`: the list of commands, a command's help, the man page or the shell's completion."""

from __future__ import annotations

import argparse

from ...plan import deployed
from .. import command, manual

HELP = "show this list, or the help of a command; help man and help completion print those"
ON = command.ON_NONE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what about."""
    parser.add_argument("about", nargs="?", metavar="COMMAND", help="a command, or man, or completion (for bash)")


def run(args: argparse.Namespace) -> command.Answer:
    """Show it."""
    if args.about == "man":
        text = manual.page()
    elif args.about == "completion":
        text = manual.completion(str(deployed.PATH))
    else:
        text = (manual.of_command(args.about) if args.about else manual.overview()).format_help()
    return {"text": text}, text.removesuffix("\n")
