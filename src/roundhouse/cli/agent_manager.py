"""`scripts/agent_manager.py`: the users' old words, each a word of the command."""

from __future__ import annotations

import argparse
import sys

from ..errors import RoundhouseError, UsageError
from ..util import console
from . import main as cli_main

EPILOG = """\
The words of scripts/switch.py, one each; what else is said is handed on to it:

  --launch po         switch.py po             ready and answering, or the one before is back
  --gpu-stats         switch.py gpu            watch it with switch.py watch
  --logs architect    switch.py logs architect (-f follows)
  --status            switch.py status
  --stop              switch.py stop           for now: a reboot, a deployment or resume brings back who served last
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = console.Parser(
        prog="agent_manager.py",
        allow_abbrev=False,
        description="Look after the agents, in the words of the migration guide.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    one = made.add_mutually_exclusive_group(required=True)
    one.add_argument("--launch", metavar="AGENT", help="put that agent on the GPU")
    one.add_argument("--gpu-stats", action="store_true", help="each card: memory, use, and who holds it")
    one.add_argument("--logs", metavar="AGENT", help="the engine's log")
    one.add_argument("--status", action="store_true", help="who serves")
    one.add_argument("--stop", nargs="?", const="", metavar="AGENT", help="who serves leaves (or that agent)")
    return made


def words(arguments: list[str]) -> list[str]:
    """Return the command line of switch.py that is meant. Raises UsageError."""
    args, rest = parser().parse_known_args(arguments)
    if args.launch is not None:
        # An agent may not bear a word's name, so a word here is a slip.
        if args.launch in cli_main.WORDS or args.launch.startswith("-"):
            raise UsageError("usage", f"--launch is {args.launch!r}: write an agent, such as po.")
        return [args.launch, *rest]
    if args.logs is not None:
        return ["logs", args.logs, *rest]
    if args.stop is not None:
        return ["stop", *([args.stop] if args.stop else []), *rest]
    return ["gpu" if args.gpu_stats else "status", *rest]


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        meant = words(arguments)
    except RoundhouseError as error:
        return console.refuse(error, as_json="--json" in arguments)
    return cli_main.main(meant)
