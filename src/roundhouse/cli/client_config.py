"""`client-config NAME`: the file that makes a client talk to this host's agents."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..errors import RoundhouseError, UsageError
from ..gateway import client_config
from ..plan import deployed
from ..util import console, files
from . import remote

LOOPBACK = "127.0.0.1"
EPILOG = "clients:\n" + "\n".join(f"  {name:<12}{each.about}" for name, each in client_config.CLIENTS.items()) + "\n"


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = console.Parser(
        prog="switch.py client-config",
        allow_abbrev=False,
        description="Print a client's configuration for this host: its agents' addresses, names and lengths.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("name", metavar="NAME", help="a client from below")
    made.add_argument("--agent", metavar="AGENT", help="that one alone (default: all, or the first where one is taken)")
    made.add_argument(
        "--host", default=LOOPBACK, metavar="NAME", help="what the client calls this host (default: %(default)s)"
    )
    made.add_argument("--to", type=Path, metavar="FOLDER", help="write the files there, under the client's own names")
    made.add_argument("--on", metavar="HOST", help="of that host: lab, or ssh://user@host; --to is here all the same")
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return made


def main(argv: list[str]) -> int:
    """Run the command, whose first word is `client-config`, and return its exit status."""
    arguments = argv[1:]
    try:
        args = parser().parse_args(arguments)
        if args.name not in client_config.CLIENTS:
            raise UsageError("usage", f"{args.name!r} is no client: write one of {', '.join(client_config.CLIENTS)}.")
        made = _elsewhere(args, target) if (target := remote.target(args.on)) else _made(args)
        if args.to:
            _write(args.to, made)
    except RoundhouseError as error:
        return console.refuse(error, as_json="--json" in arguments)
    if args.json:
        print(json.dumps({"schema": console.SCHEMA, "ok": True, "errors": [], "files": made}))
    elif args.to:
        print("\n".join(str(args.to / name) for name in made))
    else:
        headed = (f"# {name}\n{text}" if len(made) > 1 else text for name, text in made.items())
        print("\n".join(headed), end="")
    return 0


def _made(args: argparse.Namespace) -> dict[str, str]:
    plan = deployed.load()
    if args.agent:
        deployed.find(plan, args.agent)
    return client_config.CLIENTS[args.name].files(
        client_config.endpoints(plan, client_config.listener(plan), args.host, args.agent)
    )


def _elsewhere(args: argparse.Namespace, target: str) -> dict[str, str]:
    words = ["client-config", args.name, "--json", "--host", args.host]
    told = remote.ask(target, [*words, *(["--agent", args.agent] if args.agent else [])])
    return {str(name): str(text) for name, text in told["files"].items()}


def _write(folder: Path, made: dict[str, str]) -> None:
    there = [name for name, text in made.items() if (folder / name).exists() and (folder / name).read_text() != text]
    if there:
        raise UsageError(
            "to", f"{folder / there[0]} exists and is left as it is: move it away, or name another folder."
        )
    try:
        for name, text in made.items():
            files.write(folder / name, text)
    except OSError as error:
        raise RoundhouseError("to", f"{folder} cannot be written ({error.strerror}).") from None
