"""`scripts/agent_manager.py`: run commands by the options of the migration guide."""

from __future__ import annotations

import sys

from ..errors import RoundhouseError, UsageError
from ..util import console
from . import command
from . import main as cli_main

EPILOG = """\
Each option runs a command of scripts/switch.py, which takes the further options:

  --launch po         scripts/switch.py switch po
  --gpu-stats         scripts/switch.py gpu
  --logs architect    scripts/switch.py logs architect
  --status            scripts/switch.py status
  --stop              scripts/switch.py stop
"""
_OPTIONS = ("--launch", "--gpu-stats", "--logs", "--status", "--stop")


def parser() -> console.Parser:
    """Return the command line's parser."""
    made = console.Parser(
        prog="scripts/agent_manager.py",
        description="Manage the agents with the options of the migration guide.",
        epilog=EPILOG,
    )
    one = made.add_mutually_exclusive_group(required=True)
    one.add_argument("--launch", metavar="AGENT", help="activate that agent")
    one.add_argument("--gpu-stats", action="store_true", help="show each GPU: memory, use, processes")
    one.add_argument("--logs", metavar="AGENT", help="show the engine's log")
    one.add_argument("--status", action="store_true", help="show the agents")
    one.add_argument("--stop", nargs="?", const="", metavar="AGENT", help="stop the active agent, or a named one")
    return made


def words(arguments: list[str]) -> list[str]:
    """Return the arguments of scripts/switch.py for these. Raises UsageError."""
    made = parser()
    try:
        args, rest = made.parse_known_args(arguments)
    except UsageError:
        option = made.unknown_option(arguments)
        if option and made.meant(option):
            raise made.no_option(option) from None
        raise
    if args.launch is not None:
        # An agent cannot have a command's name, so a command here is a mistake.
        if args.launch in (*command.NAMES, *command.HIDDEN) or args.launch.startswith("-"):
            raise UsageError(
                "agent_invalid", "--launch is {agent!r}.", "Write an agent, such as po.", agent=args.launch
            )
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
        given = {word.partition("=")[0] for word in arguments}
        option = next(each for each in _OPTIONS if each in given)
        cli_main.parse(meant, f"scripts/agent_manager.py {option}")
    except RoundhouseError as error:
        return console.refuse(error, as_json="--json" in arguments)
    return cli_main.main(meant)
