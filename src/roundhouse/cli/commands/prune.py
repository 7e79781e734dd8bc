"""`prune`: remove unused models from the store."""

from __future__ import annotations

import argparse
import sys

from ...errors import UsageError
from ...models import prune, store
from ...plan import deployed, plan_sets
from ...util import console
from ...util.units import GIB
from .. import command, model_options
from .models import manifest_problems


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the models to remove."""
    parser.add_argument("--yes", action="store_true", help="remove without a question")
    parser.add_argument(
        "--no-rollback", action="store_true", help="also remove models of earlier plans, which a rollback needs"
    )
    model_options.add_store(parser)


def run(args: argparse.Namespace) -> command.Answer:
    """Remove them, after confirmation."""
    place = model_options.store(args)

    def unused_now() -> list[store.StoredModel]:
        users = prune.paths_of_plans(deployed.PATH.parent, None if args.no_rollback else plan_sets.FOLDER)
        return prune.unused(place, users, keep_earlier=not args.no_rollback)

    going = unused = unused_now()
    for held in going:
        size = f"{held.size_bytes / GIB:.2f} GiB"
        print(f"{held.folder} ({size})", file=sys.stderr if args.json else sys.stdout)
    if going and not args.yes:
        if not sys.stdin.isatty():
            raise UsageError(
                "prune_not_confirmed", "No model was removed: the removal was not confirmed.", "Add --yes."
            )
        if input("Remove these? [y/N] ").strip().lower() not in ("y", "yes"):
            going = []
    going = prune.remove(place, going, unused_now, console.say)
    problems = manifest_problems(args, store.stored_models(place))
    result = {"removed": [str(held.folder) for held in going]}
    shown = f"removed: {sum(held.size_bytes for held in going) / GIB:.2f} GiB" if going else "no model was removed"
    return model_options.with_problems("manifest_invalid", problems, result), shown if unused else "no model to remove"
