"""`roundhouse keys`: who may use the gateway's API."""

from __future__ import annotations

import argparse
import json

from ..errors import RoundhouseError, UsageError
from ..gateway import keys as gateway_keys
from ..util import console

_ACTIONS = ("list", "show", "add", "revoke", "ensure")


def main(argv: list[str]) -> int:
    """Run one of the words and return the exit status."""
    try:
        args = _parser().parse_args(argv[1:])
        result, text = _run(args.action, args.name)
    except RoundhouseError as error:
        return console.refuse(error, as_json="--json" in argv)
    if args.json:
        print(json.dumps({"schema": console.SCHEMA, "ok": True, "errors": [], **result}))
    elif text:
        print(text)
    return 0


def _parser() -> argparse.ArgumentParser:
    made = console.Parser(prog="switch.py keys", description="The keys of the gateway's API, by their names.")
    told = "list the names (default); show, add or revoke the key NAME; ensure makes the first one (the role does)"
    made.add_argument("action", nargs="?", choices=_ACTIONS, default="list", help=told)
    made.add_argument("name", nargs="?", metavar="NAME", help="whose key it is, such as a person or a program")
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return made


def _run(action: str, name: str | None) -> tuple[dict[str, object], str]:
    if action == "ensure":
        return {"changed": gateway_keys.ensure()}, ""
    if action == "list":
        names = sorted(gateway_keys.load())
        return {"names": names}, "\n".join(names) or "there is no key: roundhouse keys add NAME makes one"
    if name is None:
        raise UsageError("usage", f"keys {action} wants a name: switch.py keys {action} NAME.")
    if action == "show":
        keys = gateway_keys.load()
        if name not in keys:
            raise UsageError("keys", f"{name!r} is no key: `roundhouse keys` lists {', '.join(keys) or 'none'}.")
        return {"name": name, "key": keys[name]}, keys[name]
    if action == "add":
        key = gateway_keys.add(name)
        return {"name": name, "key": key}, key
    gateway_keys.revoke(name)
    return {"name": name}, f"the key of {name} is revoked"
