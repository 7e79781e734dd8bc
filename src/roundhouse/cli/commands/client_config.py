"""`client-config NAME`: write the files that let a client use the agents of the target host."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...errors import RoundhouseError, UsageError
from ...gateway import client_config
from ...plan import deployed
from ...util import files
from ...util.suggest import did_you_mean
from .. import command, remote

RAW = True  # files
LOOPBACK = "127.0.0.1"
EPILOG = "clients:\n" + "\n".join(f"  {name:<12}{each.about}" for name, each in client_config.CLIENTS.items()) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the client and its settings."""
    parser.add_argument("name", metavar="NAME", help="a client from below")
    parser.add_argument("--agent", metavar="AGENT", help="only that agent (default: all, or the first)")
    parser.add_argument(
        "--host", default=LOOPBACK, metavar="NAME", help="the name of the host in the files (default: %(default)s)"
    )
    parser.add_argument(
        "--to", type=Path, metavar="FOLDER", help="write the files there, on this machine, under the client's names"
    )


def check(args: argparse.Namespace) -> None:
    """Raise UsageError for an unknown client."""
    if args.name not in client_config.CLIENTS:
        names = ", ".join(client_config.CLIENTS)
        raise UsageError(
            "unknown_client",
            "{client!r} is not a client.",
            did_you_mean(args.name, client_config.CLIENTS, "Write one of {names}."),
            client=args.name,
            names=names,
        )


def run(args: argparse.Namespace) -> command.Answer:
    """Print the files of this host, or write them."""
    return _shown(args, _made(args))


def elsewhere(args: argparse.Namespace, target: str) -> command.Answer:
    """Print the files of another host, or write them on this machine."""
    words = ["client-config", args.name, "--json", "--host", args.host]
    answer = remote.ask(target, [*words, *(["--agent", args.agent] if args.agent else [])])
    return _shown(args, {str(name): str(text) for name, text in answer["files"].items()})


def _shown(args: argparse.Namespace, made: dict[str, str]) -> command.Answer:
    if args.to:
        _write(args.to, made)
        return {"files": made}, "\n".join(str(args.to / name) for name in made)
    headed = (f"# {name}\n{text}" if len(made) > 1 else text for name, text in made.items())
    return {"files": made}, "\n".join(headed).removesuffix("\n")


def _made(args: argparse.Namespace) -> dict[str, str]:
    plan = deployed.load()
    if args.agent:
        deployed.find(plan, args.agent)
    return client_config.CLIENTS[args.name].files(
        client_config.endpoints(plan, client_config.listener(plan), args.host, args.agent)
    )


def _write(folder: Path, made: dict[str, str]) -> None:
    there = [name for name, text in made.items() if (folder / name).exists() and (folder / name).read_text() != text]
    if there:
        text, remedy = "{path} exists and was not changed.", "Move it, or write another folder."
        raise UsageError("file_exists", text, remedy, path=str(folder / there[0]))
    try:
        for name, text in made.items():
            files.write(folder / name, text)
    except OSError as error:
        raise RoundhouseError(
            "folder_not_writable",
            "{folder} cannot be written ({why}).",
            "Write another folder: --to FOLDER.",
            folder=str(folder),
            why=error.strerror,
        ) from None
