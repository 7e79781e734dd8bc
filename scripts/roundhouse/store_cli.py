"""The words about a store that need no network: verify, models, prune."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import plan as plans
from . import progress, prune, served, store, verify
from .errors import UsageError

Result = dict[str, Any]


def verified(args: argparse.Namespace, place: Path, names: list[tuple[str, str | None]]) -> Result:
    """Read every byte of those models, of all when none is named."""
    with progress.on_stream(as_json=args.json) as shown:
        rows = verify.all_of(place, names, shown)
    if not args.json:
        for row in rows:
            print("\n".join(row["problems"]) or f"{row['model']} at {row['revision'][:12]} is whole")
    return {"models": rows, "problems": [problem for row in rows for problem in row["problems"]]}


def models(args: argparse.Namespace, place: Path) -> Result:
    """List what is there."""
    users = prune.paths_of_plans(plans.PATH.parent, served.FOLDER)
    found = list(store.held(place))
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
    users = prune.paths_of_plans(plans.PATH.parent, None if args.no_way_back else served.FOLDER)
    going = prune.needless(place, users, keep_earlier=not args.no_way_back)
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
    problems = _problems(args, store.held(place))
    return {"removed": [str(held.folder) for held in going], "problems": problems}


def _problems(args: argparse.Namespace, found: Iterable[store.Held]) -> list[str]:
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
