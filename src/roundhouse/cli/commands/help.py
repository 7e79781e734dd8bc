"""`help [COMMAND]`: show the list of commands, a command's help, the man page or the shell's completion."""

from __future__ import annotations

import argparse

from ...plan import deployed
from .. import command, manual

RAW = True  # formatted already
ON = command.ON_NONE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser.add_argument(
        "about", nargs="?", metavar="COMMAND", help="a command, or man, or completion (a script for bash)"
    )


def run(args: argparse.Namespace) -> command.Answer:
    """Show the help."""
    if args.about == "man":
        text = manual.page()
    elif args.about == "completion":
        text = manual.completion(str(deployed.PATH))
    else:
        text = (manual.of_command(args.about) if args.about else manual.overview()).format_help()
    return {"text": text}, text.removesuffix("\n")
