"""`models`: list the models of the store."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from ...models import prune, store
from ...plan import deployed, plan_sets
from ...util import console
from ...util.units import GIB
from .. import command, model_options

_COLUMNS = ("model", "revision", "GiB", "agents", "verified")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the store."""
    model_options.add_store(parser)


def run(args: argparse.Namespace) -> command.Answer:
    """List them."""
    place = model_options.store(args)
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
    shown = console.table(_COLUMNS, [_shown(row) for row in rows]) if rows else f"{place} contains no models."
    return model_options.with_problems("manifest_invalid", manifest_problems(args, found), {"models": rows}), shown


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    shown = {"GiB": f"{row['size_bytes'] / GIB:.2f}", "agents": ", ".join(row["agents"]) or None}
    revision = row["revision"][:12] if row["source"] else "incomplete"
    return row | shown | {"revision": revision, "verified": row["verified_at"]}


def manifest_problems(args: argparse.Namespace, found: Iterable[store.StoredModel]) -> list[str]:
    """Return the problems of the manifests, and print them unless the output is JSON."""
    problems = [held.problem for held in found if held.problem]
    for problem in [] if args.json else problems:
        console.say(problem)
    return problems
