"""The words about models, from pull to quantize. They work without an agent, and in a checkout."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import hub, lock, output, planned_models, progress, pull, quantize_cli, remote, store_cli
from . import plan as plans
from .errors import RoundhouseError, UsageError
from .fetch import Source
from .folder_source import FolderSource
from .model_words import WORDS
from .pull_job import Wish

STORE = Path("/var/lib/roundhouse/models")
CLIENT = lock.HUB_CLIENTS / "current"  # the role's link to the environment of the hub's client
_MODEL = re.compile(r"(?P<model>\w[\w.-]*/\w[\w.-]*)(?:@(?P<asked>\w[\w.-]*))?")

Result = dict[str, Any]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the words about models."""
    made = output.Parser(prog="switch.py", allow_abbrev=False, description="The models of a host, and their store.")
    words = made.add_subparsers(dest="word", metavar="WORD", required=True)
    for word, about in WORDS.items():
        one = words.add_parser(word, help=about, description=about, allow_abbrev=False)
        one.add_argument("--json", action="store_true", help="one JSON object on stdout, progress as JSON lines")
        one.add_argument("--on", metavar="HOST", help="run it there: lab, or ssh://user@host")
        one.add_argument("--store", type=Path, metavar="FOLDER", help=f"the store (default: the plan's, or {STORE})")
        if word == "export":
            one.add_argument("folder", type=Path, metavar="FOLDER", help="such as a USB disk: a store of its own")
        if word in ("pull", "verify", "export"):
            one.add_argument("models", nargs="*", metavar="OWNER/NAME[@REVISION]", help="(default: the plan's models)")
        if word in ("pull", "export"):
            one.add_argument("--from", dest="source", metavar="FOLDER|URL", help="(default: HF_ENDPOINT, or the hub)")
            one.add_argument(
                "--files-at-once", type=int, default=pull.WORKERS, metavar="N", help="(default: %(default)s)"
            )
        if word == "quantize":
            quantize_cli.add_arguments(one)
        if word == "prune":
            one.add_argument("--yes", action="store_true", help="do not ask")
            one.add_argument("--no-way-back", action="store_true", help="also what a rollback needs")
    return made


def main(arguments: list[str]) -> int:
    """Run the command and return its exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        args = parser().parse_args(arguments)
        if args.on:
            words = remote.without_on(arguments)
            return remote.run(args.on, words, terminal=sys.stdin.isatty() and sys.stdout.isatty())
        if args.word in ("pull", "export") and not args.source and not hub.available():
            _go_on_in_the_clients_python(arguments)
        result = _RUN[args.word](args)
    except RoundhouseError as error:
        return output.refuse(error, as_json="--json" in arguments)
    except KeyboardInterrupt:
        kept = RoundhouseError("interrupted", "interrupted; what came is kept.")
        return output.refuse(kept, as_json="--json" in arguments)
    if args.json:
        problems = [{"stage": args.word, "message": text} for text in result.get("problems", [])]
        print(json.dumps({"schema": output.SCHEMA, "ok": not problems, "errors": problems, **result}))
    return 1 if result.get("problems") else 0


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _pull(args: argparse.Namespace) -> Result:
    place, source = _store(args), _source(args)
    asked = [_wish(text) for text in args.models]
    return _end(
        args, _brought(args, place, source, asked or planned_models.to_pull(plans.load()["agents"], place, source))
    )


def _export(args: argparse.Namespace) -> Result:
    """Take what the store holds from there, and what it does not from the source."""
    own = _store(args)
    wishes = [_wish(text) for text in args.models] or planned_models.to_export(plans.load()["agents"], own)
    here = [wish for wish in wishes if not args.source and planned_models.is_in(own, wish)]
    away = [wish for wish in wishes if wish not in here]
    done = _brought(args, args.folder, FolderSource(own), here) if here else []
    return _end(args, done + (_brought(args, args.folder, _source(args), away) if away else []))


def _brought(args: argparse.Namespace, place: Path, source: Source, wishes: list[Wish]) -> list[dict[str, Any]]:
    if args.files_at_once < 1:
        raise UsageError("usage", f"--files-at-once is {args.files_at_once}: write a number from 1.")
    with progress.on_stream(as_json=args.json) as shown:
        return pull.Pull(place, source, shown, workers=args.files_at_once).run(wishes)


def _end(args: argparse.Namespace, done: list[dict[str, Any]]) -> Result:
    if not args.json:
        for row in done:
            print(f"{row['model']} at {row['revision'][:12]}: {'pulled' if row['changed'] else 'was there'}")
    return {"changed": any(row["changed"] for row in done), "models": done}


def _store(args: argparse.Namespace) -> Path:
    """Return --store, else where the plan's models lie, else the default."""
    if args.store:
        return Path(args.store).absolute()
    if plans.PATH.exists():
        return Path(plans.load().get("models_store") or STORE)
    return STORE


def _source(args: argparse.Namespace) -> Source:
    if args.source and not args.source.startswith(("http://", "https://")):
        return FolderSource(Path(args.source).absolute())
    return hub.Hub(args.source)


def _wish(text: str) -> Wish:
    model, asked = _named(text)
    return Wish(model, asked or "main", asked or "main")


def _named(text: str) -> tuple[str, str | None]:
    """Return a model and its revision, None where none is named. Raises UsageError."""
    match = _MODEL.fullmatch(text)
    if not match:
        raise UsageError("usage", f"{text!r} is no model: write a hub's owner/name, or owner/name@revision.")
    return match["model"], match["asked"]


def _go_on_in_the_clients_python(arguments: list[str]) -> None:
    """Run again with the Python that has the hub's client, where the role `models` brought one."""
    python = CLIENT / "bin/python"
    if python.exists() and Path(sys.prefix).resolve() != CLIENT.resolve():
        os.execv(python, [str(python), sys.argv[0], *arguments])


_RUN: dict[str, Callable[[argparse.Namespace], Result]] = {
    "pull": _pull,
    "verify": lambda args: store_cli.verified(args, _store(args), [_named(text) for text in args.models]),
    "models": lambda args: store_cli.models(args, _store(args)),
    "prune": lambda args: store_cli.pruned(args, _store(args)),
    "quantize": lambda args: quantize_cli.run(args, _store(args)),
    "export": _export,
}
