"""`keys`: manage the keys of the gateway's API."""

from __future__ import annotations

import argparse

from ...errors import UsageError
from ...gateway import keys
from ...util import console
from .. import command

HELP = "list, show, add or revoke the keys of the gateway's API"
ACTIONS = ("list", "show", "add", "revoke", "ensure")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action and the key's name."""
    told = "list the names (default); show, add or revoke the key NAME; ensure that there is one (for the role)"
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="list", help=told)
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of the key, such as a person or a program")


def check(args: argparse.Namespace) -> None:
    """Raise UsageError for a missing or superfluous name."""
    program, wanted = console.command_name(), args.action in ("show", "add", "revoke")
    if wanted and args.name is None:
        text, remedy = "keys {action} needs a name.", "Write {program} keys {action} NAME."
        raise UsageError("key_name_missing", text, remedy, action=args.action, program=program)
    if args.name is not None and not wanted:
        text, remedy = "keys {action} does not take the argument {argument!r}.", "Leave it out."
        raise UsageError("unexpected_argument", text, remedy, action=args.action, argument=args.name)


def is_local(args: argparse.Namespace) -> bool:
    """Return whether the keys are those of this machine whatever the target is: the role calls `ensure` on its host."""
    return bool(args.action == "ensure")


def run(args: argparse.Namespace) -> command.Answer:
    """Run the action."""
    action, name = args.action, args.name
    if action == "ensure":
        return {"changed": keys.ensure()}, ""
    if action == "list":
        names = sorted(keys.load())
        none = f"There is no key. Make one with `{console.command_name()} keys add NAME`."
        return {"names": names}, "\n".join(names) or none
    if action == "show":
        key = keys.find(name)
        return {"name": name, "key": key}, key
    if action == "add":
        key = keys.add(name)
        return {"name": name, "key": key}, key
    keys.revoke(name)
    return {"name": name}, f"the key of {name} is revoked"
