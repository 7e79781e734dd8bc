"""`rollback [PLAN]`: deploy an earlier plan."""

from __future__ import annotations

import argparse

from ...errors import RoundhouseError
from ..command import Answer
from . import deploy

HELP = "deploy the previous plan again, or a named one"
EPILOG = "If the plan's agent fails to start, the present plan and its agent are restored.\n"
check = deploy.check


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the plan."""
    parser.add_argument(
        "plan", nargs="?", metavar="PLAN", help="a name from the list of plans (default: the previous plan)"
    )
    deploy.add_options(parser)


def run(args: argparse.Namespace) -> Answer:
    """Roll back."""
    from ...plan import plan_sets
    from ...switch import deploy_preview, next_run

    found = plan_sets.before(args.plan)
    if lost := deploy_preview.missing(found):
        text = "The plan {plan} is incomplete: {lost}."
        remedy = "Name another plan of `roundhouse plans`."
        raise RoundhouseError("plan_incomplete", text, remedy, plan=found.name, lost="; ".join(lost))
    replaced, _ = plan_sets.current()
    result, shown = deploy.put(found, args)
    following = None if args.dry_run else next_run.after_rollback(found, replaced)
    return (result, shown) if following is None else ({**(result or {}), "next": following}, f"{shown}\n{following}")
