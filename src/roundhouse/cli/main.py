"""The command: `scripts/switch.py` in a checkout, `roundhouse` on a host."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

from ..errors import RoundhouseError, UsageError
from ..plan import deployed
from ..util import console
from ..util.suggest import RENAMED, near
from . import command, target_host
from .command import Command

# Options with a value that may stand before the command's name.
_WITH_VALUE = ("--on", "--check", "-n", "--drain", "--every", "--rounds")


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return console.until_read(lambda: _main(list(sys.argv[1:] if argv is None else argv)))


def _main(arguments: list[str]) -> int:
    as_json = "--json" in arguments
    # A lost connection or a supervisor's time limit ends a switch as Ctrl-C does: with a rollback.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    interrupted, host = "Interrupted.", target_host.LOCAL_WORD
    try:
        if {"-h", "--help"} & set(arguments):
            arguments = ["help", *([name] if (name := _name_of(arguments)) else []), *(["--json"] if as_json else [])]
        found, args = parse(arguments)
        if found is None:
            answer: command.Answer = {"agents": [agent["name"] for agent in deployed.load(args.check)["agents"]]}, ""
        else:
            interrupted = found.interrupted
            found.check(args)
            other = None if found.on == command.ON_NONE or found.is_local(args) else target_host.of(args.on)
            if other and not found.elsewhere:
                from . import remote

                return remote.run(other, target_host.without_on(arguments), terminal=target_host.is_terminal())
            answer = _elsewhere(found, args, other) if other else found.run(args)
            host = other or target_host.LOCAL_WORD
    except RoundhouseError as error:
        return console.refuse(error, as_json=as_json)
    except KeyboardInterrupt:
        return console.refuse(RoundhouseError("interrupted", interrupted), as_json=as_json)
    result, text = answer
    if as_json and result is not None:
        print(json.dumps({"schema": console.SCHEMA, "ok": True, "errors": [], **result, "host": host}))
    elif text:
        text = console.printable(text)
        print(text if found is None or found.raw else console.wrapped(text))
    return 0 if result is None or result.get("ok", True) else 1


def parse(arguments: list[str], typed: str | None = None) -> tuple[Command | None, argparse.Namespace]:
    """Return the command and its arguments; no command for `--check PLAN`. Raises UsageError.

    An agent's name as the command is a switch to it: `implicit` is then true. `typed` is the command's name in errors;
    None takes the name by which the program was called.
    """
    # --json goes to the end, where no option can take it for its value.
    arguments = [*(each for each in arguments if each != "--json"), *["--json"][: arguments.count("--json")]]
    at = _position(arguments)
    name = arguments[at] if at < len(arguments) else None
    if name is None:
        return None, _without_command(arguments)
    if name in RENAMED:
        raise command.unknown(name)
    implicit = name not in (*command.NAMES, *command.HIDDEN)
    found = command.load("switch" if implicit else name)
    parser = found.parser()
    parser.prog = typed or f"{console.command_name()} {name}"
    try:
        args = parser.parse_args(arguments if implicit else arguments[:at] + arguments[at + 1 :])
    except UsageError:
        if implicit:
            _refuse_unknown(name, arguments)
        raise
    args.implicit, args.arguments = implicit, arguments
    return found, args


def _refuse_unknown(name: str, arguments: list[str]) -> None:
    """Raise UsageError for an unknown agent, or for a misspelt command where the agents of this host are unknown."""
    agents: list[str] = []
    if (
        os.environ.get("ROUNDHOUSE_ON") in (None, target_host.LOCAL_WORD)
        and target_host.without_on(arguments) == arguments
    ):
        with contextlib.suppress(UsageError):
            agents = [agent["name"] for agent in deployed.load()["agents"]]
    if name not in agents and (agents or near(name, command.NAMES)):
        raise command.unknown(name, agents) from None


def _position(arguments: list[str]) -> int:
    """Return the index of the command's name; the number of arguments when there is none.

    Only options and their values stand before a command's own name. Any other word is an agent's name.
    """
    for at, word in enumerate(arguments):
        if word in (*command.NAMES, *command.HIDDEN, *RENAMED):
            return at
        follows_an_option = at > 0 and arguments[at - 1].startswith("-")
        if not word.startswith("-") and not follows_an_option:
            break
    at = 0
    while at < len(arguments) and arguments[at].startswith("-"):
        at += 2 if arguments[at] in _WITH_VALUE else 1
    return at


def _name_of(arguments: list[str]) -> str | None:
    """Return the command to show the help of; None for the list of all."""
    at = _position(arguments)
    name = arguments[at] if at < len(arguments) else None
    if name is None or name in (*command.NAMES, *command.HIDDEN, *RENAMED):
        return name
    return "switch"


def _without_command(arguments: list[str]) -> argparse.Namespace:
    made = console.Parser(prog=console.command_name())
    made.add_argument("--json", action="store_true")
    made.add_argument("--on")
    made.add_argument("--check", type=Path)
    args: argparse.Namespace = made.parse_args(arguments)
    if args.check is None:
        program = console.command_name()
        raise UsageError(
            "command_missing", "A command or an agent is missing.", "{program} --help lists them.", program=program
        )
    return args


def _elsewhere(found: Command, args: argparse.Namespace, host: str) -> command.Answer:
    """Return the answer of a command that uses another host and files of this machine."""
    from . import remote

    if found.elsewhere is None:
        raise AssertionError(found.name)
    if not args.json:
        remote.announce(host)
    return found.elsewhere(args, host)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
