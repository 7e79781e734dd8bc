"""`keys`: who may use the gateway's API."""

from __future__ import annotations

import argparse

from ...errors import UsageError
from ...gateway import keys
from ...util import console
from .. import command

HELP = "list, show, add or revoke the keys of the gateway's API"
ON = command.ON_NONE
ACTIONS = ("list", "show", "add", "revoke", "ensure")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to do, and whose key it is about."""
    told = "list the names (default); show, add or revoke the key NAME; ensure makes the first one (the role does)"
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="list", help=told)
    parser.add_argument("name", nargs="?", metavar="NAME", help="whose key it is, such as a person or a program")


def run(args: argparse.Namespace) -> command.Answer:
    """Do it."""
    action, name = args.action, args.name
    if action == "ensure":
        return {"changed": keys.ensure()}, ""
    if action == "list":
        names = sorted(keys.load())
        return {"names": names}, "\n".join(names) or "there is no key: roundhouse keys add NAME makes one"
    if name is None:
        text, remedy = "keys {action} needs a name.", "Write {program} keys {action} NAME."
        raise UsageError("key_name_missing", text, remedy, action=action, program=console.command_name())
    if action == "show":
        held = keys.load()
        if name not in held:
            text, remedy = "There is no key of {name!r}.", "roundhouse keys lists {names}."
            raise UsageError("unknown_key", text, remedy, name=name, names=", ".join(held) or "none")
        return {"name": name, "key": held[name]}, held[name]
    if action == "add":
        key = keys.add(name)
        return {"name": name, "key": key}, key
    keys.revoke(name)
    return {"name": name}, f"the key of {name} is revoked"
