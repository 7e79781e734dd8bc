"""The common parts of the commands about models: arguments, store and source. They need no agent."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

from .. import pins
from ..errors import RoundhouseError, UsageError
from ..host import proxy
from ..models import hub, pull
from ..models.download import Source
from ..models.folder_source import FolderSource
from ..models.pull_job import PullRequest
from ..plan import deployed
from ..schema.facts import PulledModel
from ..util import progress
from .command import Answer

STORE = Path("/var/lib/roundhouse/models")
CLIENT = pins.HUB_CLIENTS / "current"  # a link to the environment of the hub's client, made by the role
KEPT = "Interrupted; what was downloaded is kept."
_MODEL = re.compile(r"(?P<model>\w[\w.-]*/\w[\w.-]*)(?:@(?P<asked>\w[\w.-]*))?")


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add --store."""
    parser.add_argument(
        "--store", type=Path, metavar="FOLDER", help=f"the store, on the target host (default: the plan's, or {STORE})"
    )


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add the models."""
    parser.add_argument(
        "models", nargs="*", default=[], metavar="OWNER/NAME[@REVISION]", help="a model (default: the plan's models)"
    )


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add where models come from."""
    parser.add_argument(
        "--from",
        dest="source",
        metavar="FOLDER|URL",
        help="a folder of the target host, or a hub (default: HF_ENDPOINT, or the hub)",
    )
    parser.add_argument(
        "--files-at-once",
        type=int,
        default=pull.WORKERS,
        metavar="N",
        help="files to download in parallel (default: %(default)s)",
    )


def store(args: argparse.Namespace) -> Path:
    """Return --store, else the plan's store, else the default."""
    if args.store:
        return Path(args.store).absolute()
    if deployed.PATH.exists():
        return Path(deployed.load().get("models_store") or STORE)
    return STORE


def source(args: argparse.Namespace) -> Source:
    """Return the source of models."""
    if args.source and not args.source.startswith(("http://", "https://")):
        return FolderSource(Path(args.source).absolute())
    return hub.Hub(args.source)


def named(text: str) -> tuple[str, str | None]:
    """Return a model and its revision, None for the default. Raises UsageError."""
    match = _MODEL.fullmatch(text)
    if not match:
        what, remedy = "The model name {name!r} is not valid.", "Write owner/name or owner/name@revision."
        raise UsageError("model_name_invalid", what, remedy, name=text)
    return match["model"], match["asked"]


def requests(args: argparse.Namespace) -> list[PullRequest]:
    """Return the named models."""
    return [PullRequest(model, asked or "main", asked or "main") for model, asked in map(named, args.models)]


def download(args: argparse.Namespace, place: Path, origin: Source, wanted: list[PullRequest]) -> list[PulledModel]:
    """Download models into a store; return a row for each."""
    if args.files_at_once < 1:
        text, remedy = "--files-at-once is {value}.", "Write a number from 1."
        raise UsageError("files_at_once_invalid", text, remedy, value=args.files_at_once)
    with progress.on_stream(as_json=args.json) as shown:
        return pull.Pull(place, origin, shown, workers=args.files_at_once).run(wanted)


def downloaded(done: list[PulledModel]) -> Answer:
    """Return the answer about a download."""
    lines = [
        f"{row['model']} at {row['revision'][:12]}: {'downloaded' if row['changed'] else 'in the store already'}"
        for row in done
    ]
    return {"changed": any(row["changed"] for row in done), "models": done}, "\n".join(lines)


def with_problems(code: str, problems: list[str], result: dict[str, Any]) -> dict[str, Any]:
    """Return the result with the problems as its errors."""
    errors = [RoundhouseError(code, text).as_json() for text in problems]
    return {"ok": not errors, "errors": errors, **result, "problems": problems}


def use_client(args: argparse.Namespace) -> None:
    """Run the command again with the Python of the hub's client, where this one lacks it and the role installed it.

    Both use the host's proxy.
    """
    proxy.apply()
    if args.source or hub.available():
        return
    python = CLIENT / "bin/python"
    if python.exists() and Path(sys.prefix).resolve() != CLIENT.resolve():
        os.execv(python, [str(python), sys.argv[0], *args.arguments])
