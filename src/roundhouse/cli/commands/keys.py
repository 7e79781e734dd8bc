"""`keys`: manage the keys of the gateway's API, and print its certificate."""

from __future__ import annotations

import argparse

from ...errors import UsageError
from ...gateway import certificate, haproxy_config, keys
from ...util import console
from .. import command

ACTIONS = ("list", "show", "add", "revoke", "certificate", "ensure")
_ACTIONS_HELP = (
    "list: print the names (default). show, add, revoke: the key NAME. certificate: print the gateway's certificate "
    "for clients, without its private key. ensure: make the first key, for the role."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action and the key's name."""
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="list", metavar="ACTION", help=_ACTIONS_HELP)
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of the key, such as a person or a program")


def check(args: argparse.Namespace) -> None:
    """Raise UsageError for a missing or superfluous name."""
    program, takes_name = console.command_name(), args.action in ("show", "add", "revoke")
    if takes_name and args.name is None:
        text, remedy = "keys {action} needs a name.", "Write {program} keys {action} NAME."
        raise UsageError("key_name_missing", text, remedy, action=args.action, program=program)
    if args.name is not None and not takes_name:
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
        return {"names": names}, "\n".join(names) or _no_key()
    if action == "certificate":
        text = certificate.read()
        return {"certificate": text}, text
    if action == "show":
        key = keys.find(name)
        return {"name": name, "key": key}, key
    if action == "add":
        key = keys.add(name)
        return {"name": name, "key": key}, key
    keys.revoke(name)
    return {"name": name}, f"the key of {name} is revoked"


def _no_key() -> str:
    add = f"Add one with `{console.command_name()} keys add NAME`."
    if haproxy_config.needs_key():
        return f"There is no key, so the gateway refuses all requests except /health. {add}"
    return f"There is no key. The API on loopback needs none. {add}"
