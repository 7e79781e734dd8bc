"""`export FOLDER`: copy models for a host without internet."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import command, model_options, target_host

EPILOG = "On that host, set models_source to the folder.\n"
INTERRUPTED = model_options.KEPT
check = model_options.requests


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folder, the models and their source."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a folder of this machine, such as a USB disk")
    model_options.add_models(parser)
    model_options.add_store(parser)
    model_options.add_source(parser)


def elsewhere(args: argparse.Namespace, target: str) -> command.Answer:
    """Copy the models of another host's store into the folder on this machine."""
    from .. import export_remote

    words = [word for word in target_host.without_on(args.arguments) if word != "export"]
    words.remove(str(args.folder))
    done = export_remote.bring(target, words, args.folder.absolute(), as_json=args.json)
    return model_options.downloaded(done)


def run(args: argparse.Namespace) -> command.Answer:
    """Copy what the store holds, and download the rest."""
    from ...models import planned
    from ...models.folder_source import FolderSource
    from ...plan import deployed

    model_options.use_client(args)
    own = model_options.store(args)
    wanted = model_options.requests(args) or planned.to_export(deployed.load()["agents"], own)
    here = [request for request in wanted if not args.source and planned.is_in(own, request)]
    away = [request for request in wanted if request not in here]
    done = model_options.download(args, args.folder, FolderSource(own), here) if here else []
    if away:
        done += model_options.download(args, args.folder, model_options.source(args), away)
    return model_options.downloaded(done)
