"""The words about plans as they come and go: deploy (the play's own), plans, rollback."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import RoundhouseError, UsageError
from ..plan import plan_sets
from ..plan.plan_sets import PlanSet
from ..state import serving, switch_journal
from ..util import console
from .words_act import check_drain

Word = Callable[[argparse.Namespace], dict[str, Any]]


def deploy(args: argparse.Namespace) -> dict[str, Any]:
    """Put what a play has written into a folder in place: what site.yml ends with, and not for people."""
    if args.agent is None:
        raise UsageError("usage", "deploy wants the folder of a plan with its files: site.yml calls it.")
    return _put(plan_sets.read(Path(args.agent)), args)


def rollback(args: argparse.Namespace) -> dict[str, Any]:
    """Go back to the plan that served before, or to the one of that name."""
    from ..switch import deploy_preview

    found = plan_sets.before(args.agent)
    if lost := deploy_preview.missing(found):
        raise RoundhouseError("rollback", f"The plan {found.name} cannot serve: {'; '.join(lost)}.")
    return _put(found, args)


def plans(args: argparse.Namespace) -> dict[str, Any]:
    """Show the plans that served, the newest last."""
    rows = plan_sets.rows()
    if not args.json:
        print(console.table(plan_sets.COLUMNS, rows) if rows else "no plan was deployed here")
    return {"plans": rows}


def _put(found: PlanSet, args: argparse.Namespace) -> dict[str, Any]:
    from ..switch import deploy as switch_deploy
    from ..switch.context import report_wait_once

    check_drain(args)
    report = console.progress()
    with serving.switching(switch_journal.describe, wait=report_wait_once(report) if args.wait else None):
        if args.dry_run:
            return _look(found, args)
        done = switch_deploy.deploy(found, report, drain_seconds=args.drain, start_agents=not args.no_start)
    if not args.json:
        print(f"the plan {done['plan']} is in place; serving: {', '.join(done['serving']) or 'nobody'}")
    return {**done}


def _look(found: PlanSet, args: argparse.Namespace) -> dict[str, Any]:
    """Say what would become another. Who serves may change until it is done."""
    from ..switch import deploy as switch_deploy
    from ..switch import deploy_preview

    old, _ = plan_sets.current()
    moved = not found.is_in_place(old)
    seen = None
    if moved and old:
        seen = deploy_preview.preview(switch_deploy.prepare(found, old, None, args.drain, lambda text: None))
    lines = seen.text() if seen else ["The first plan of this host."] if moved else []
    if not args.json:
        print("\n".join(lines) or f"the plan {found.name} is in place: nothing becomes another")
    told = {"plan": found.name, "before": old.name if old else None, "moved": moved, "text": lines}
    return told | (seen._asdict() if seen else {})


WORDS: dict[str, Word] = {"deploy": deploy, "plans": plans, "rollback": rollback}
