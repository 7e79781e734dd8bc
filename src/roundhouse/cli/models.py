"""The words about a store that need no network: verify, models, prune.

The words about models, from pull to quantize. They work without an agent, and in a checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .. import pins
from ..errors import RoundhouseError, UsageError
from ..models import hub, planned, prune, pull, store, verify
from ..models.download import Source
from ..models.folder_source import FolderSource
from ..models.pull_job import PullRequest
from ..plan import deployed, plan_sets
from ..schema.facts import PulledModel
from ..util import console, progress
from . import quantize, remote
from .manual import WORDS

Result = dict[str, Any]


def verified(args: argparse.Namespace, place: Path, names: list[tuple[str, str | None]]) -> Result:
    """Read every byte of those models, of all when none is named."""
    with progress.on_stream(as_json=args.json) as shown:
        rows = verify.verify_all(place, names, shown)
    if not args.json:
        for row in rows:
            print("\n".join(row["problems"]) or f"{row['model']} at {row['revision'][:12]} is whole")
    return {"models": rows, "problems": [problem for row in rows for problem in row["problems"]]}


def models(args: argparse.Namespace, place: Path) -> Result:
    """List what is there."""
    users = prune.paths_of_plans(deployed.PATH.parent, plan_sets.FOLDER)
    found = list(store.stored_models(place))
    rows = [
        {
            "model": held.model,
            "revision": held.folder.name,
            "size_bytes": held.size_bytes,
            "agents": users.get(str(held.folder.resolve()), []),
            "verified_at": held.manifest.verified_at if held.manifest else None,
            "source": held.manifest.source if held.manifest else None,
        }
        for held in found
    ]
    if not args.json:
        print(_table(rows) if rows else f"{place} holds no models.")
    return {"models": rows, "problems": _problems(args, found)}


def pruned(args: argparse.Namespace, place: Path) -> Result:
    """Remove what nobody needs, after a yes."""
    users = prune.paths_of_plans(deployed.PATH.parent, None if args.no_way_back else plan_sets.FOLDER)
    going = prune.unused(place, users, keep_earlier=not args.no_way_back)
    say = sys.stderr if args.json else sys.stdout
    for held in going:
        print(f"{held.folder} ({held.size_bytes / progress.GIB:.2f} GiB)", file=say)
    if going and not args.yes:
        if not sys.stdin.isatty():
            raise UsageError("prune", "nothing is removed without a yes: prune --yes.")
        if input("Remove these? [y/N] ").strip().lower() not in ("y", "yes"):
            going = []
    prune.remove(place, going, lambda text: print(text, file=sys.stderr))
    if not args.json:
        print(f"removed: {sum(held.size_bytes for held in going) / progress.GIB:.2f} GiB")
    problems = _problems(args, store.stored_models(place))
    return {"removed": [str(held.folder) for held in going], "problems": problems}


def _problems(args: argparse.Namespace, found: Iterable[store.StoredModel]) -> list[str]:
    """Return what is wrong with manifests; say it too."""
    problems = [held.problem for held in found if held.problem]
    if not args.json:
        print("\n".join(problems), end="\n" if problems else "", file=sys.stderr)
    return problems


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'model':<44} {'revision':<13} {'GiB':>7}  {'agents':<20} verified"]
    for row in rows:
        name = row["revision"][:12] if row["source"] else "not whole"
        whose = ", ".join(row["agents"]) or "-"
        size = f"{row['size_bytes'] / progress.GIB:7.2f}"
        lines.append(f"{row['model']:<44} {name:<13} {size}  {whose:<20} {row['verified_at'] or '-'}")
    return "\n".join(lines)


STORE = Path("/var/lib/roundhouse/models")
CLIENT = pins.HUB_CLIENTS / "current"  # the role's link to the environment of the hub's client
_MODEL = re.compile(r"(?P<model>\w[\w.-]*/\w[\w.-]*)(?:@(?P<asked>\w[\w.-]*))?")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the words about models."""
    made = console.Parser(prog="switch.py", allow_abbrev=False, description="The models of a host, and their store.")
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
            quantize.add_arguments(one)
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
        return console.refuse(error, as_json="--json" in arguments)
    except KeyboardInterrupt:
        kept = RoundhouseError("interrupted", "interrupted; what came is kept.")
        return console.refuse(kept, as_json="--json" in arguments)
    if args.json:
        problems = [{"code": args.word, "message": text} for text in result.get("problems", [])]
        print(json.dumps({"schema": console.SCHEMA, "ok": not problems, "errors": problems, **result}))
    return 1 if result.get("problems") else 0


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _pull(args: argparse.Namespace) -> Result:
    place, source = _store(args), _source(args)
    asked = [_wish(text) for text in args.models]
    return _end(args, _brought(args, place, source, asked or planned.to_pull(deployed.load()["agents"], place, source)))


def _export(args: argparse.Namespace) -> Result:
    """Take what the store holds from there, and what it does not from the source."""
    own = _store(args)
    wishes = [_wish(text) for text in args.models] or planned.to_export(deployed.load()["agents"], own)
    here = [wish for wish in wishes if not args.source and planned.is_in(own, wish)]
    away = [wish for wish in wishes if wish not in here]
    done = _brought(args, args.folder, FolderSource(own), here) if here else []
    return _end(args, done + (_brought(args, args.folder, _source(args), away) if away else []))


def _brought(args: argparse.Namespace, place: Path, source: Source, wishes: list[PullRequest]) -> list[PulledModel]:
    if args.files_at_once < 1:
        raise UsageError("usage", f"--files-at-once is {args.files_at_once}: write a number from 1.")
    with progress.on_stream(as_json=args.json) as shown:
        return pull.Pull(place, source, shown, workers=args.files_at_once).run(wishes)


def _end(args: argparse.Namespace, done: list[PulledModel]) -> Result:
    if not args.json:
        for row in done:
            print(f"{row['model']} at {row['revision'][:12]}: {'pulled' if row['changed'] else 'was there'}")
    return {"changed": any(row["changed"] for row in done), "models": done}


def _store(args: argparse.Namespace) -> Path:
    """Return --store, else where the plan's models lie, else the default."""
    if args.store:
        return Path(args.store).absolute()
    if deployed.PATH.exists():
        return Path(deployed.load().get("models_store") or STORE)
    return STORE


def _source(args: argparse.Namespace) -> Source:
    if args.source and not args.source.startswith(("http://", "https://")):
        return FolderSource(Path(args.source).absolute())
    return hub.Hub(args.source)


def _wish(text: str) -> PullRequest:
    model, asked = _named(text)
    return PullRequest(model, asked or "main", asked or "main")


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
    "verify": lambda args: verified(args, _store(args), [_named(text) for text in args.models]),
    "models": lambda args: models(args, _store(args)),
    "prune": lambda args: pruned(args, _store(args)),
    "quantize": lambda args: dict(quantize.run(args, _store(args))),
    "export": _export,
}
