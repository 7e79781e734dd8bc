"""`deploy FOLDER`: deploy a plan that a play has written. Called by site.yml, and not in the help."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ...plan import plan_sets
from ...plan.plan_sets import PlanSet
from ...state import serving, switch_journal
from .. import command, live
from . import switch

ON = command.ON_NONE
check = switch.check


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folder."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of a plan with its files")
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add how to deploy."""
    switch.add_drain(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the changes, and change nothing")
    parser.add_argument("--no-start", action="store_true", help=argparse.SUPPRESS)  # agents_start is false


def run(args: argparse.Namespace) -> command.Answer:
    """Deploy."""
    return put(lambda: plan_sets.read(args.folder), args)


def put(choose: Callable[[], PlanSet], args: argparse.Namespace) -> command.Answer:
    """Deploy the plan, or with --dry-run show the changes.

    `choose` returns the plan. It is called with the lock held, because a deployment that this one waits for changes
    the plans.
    """
    from ...switch import deploy
    from ...switch.context import report_wait_once

    with (
        live.progress() as report,
        serving.switching(switch_journal.describe, wait=report_wait_once(report) if args.wait else None),
    ):
        found = choose()
        if args.dry_run:
            return _preview(found, args)
        serving.own_folder()
        done = deploy.deploy(found, report, drain_seconds=args.drain, start_agents=not args.no_start)
    return {**done}, f"the plan {done['plan']} is deployed; active: {', '.join(done['serving']) or 'no agent'}"


def _preview(found: PlanSet, args: argparse.Namespace) -> command.Answer:
    """Show the changes. The active agent may change before the deployment."""
    from ...switch import deploy, deploy_preview

    old, _ = plan_sets.current()
    moved = not found.is_in_place(old)
    seen = None
    if moved and old:
        seen = deploy_preview.preview(deploy.prepare(found, old, None, args.drain, lambda text: None))
    lines = seen.text() if seen else ["The first plan of this host."] if moved else []
    result = {"plan": found.name, "before": old.name if old else None, "moved": moved, "text": lines}
    shown = "\n".join(lines) or f"the plan {found.name} is deployed already: nothing changes"
    return result | (seen._asdict() if seen else {}), shown
