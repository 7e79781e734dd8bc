"""`keys`: who may use the gateway's API."""

from __future__ import annotations

import argparse
from typing import Any

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


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Do it."""
    result, text = _result(args.action, args.name)
    if text and not args.json:
        print(text)
    return result


def _result(action: str, name: str | None) -> tuple[dict[str, Any], str]:
    if action == "ensure":
        return {"changed": keys.ensure()}, ""
    if action == "list":
        names = sorted(keys.load())
        return {"names": names}, "\n".join(names) or "there is no key: roundhouse keys add NAME makes one"
    if name is None:
        raise UsageError(
            "key_name_missing",
            "keys {action} needs a name.",
            "Write {program} keys {action} NAME.",
            action=action,
            program=console.command_name(),
        )
    if action == "show":
        held = keys.load()
        if name not in held:
            raise UsageError(
                "unknown_key",
                "There is no key of {name!r}.",
                "roundhouse keys lists {names}.",
                name=name,
                names=", ".join(held) or "none",
            )
        return {"name": name, "key": held[name]}, held[name]
    if action == "add":
        key = keys.add(name)
        return {"name": name, "key": key}, key
    keys.revoke(name)
    return {"name": name}, f"the key of {name} is revoked"
