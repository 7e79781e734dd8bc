"""`rollback [PLAN]`: deploy an earlier plan."""

from __future__ import annotations

import argparse

from ...errors import RoundhouseError
from ...plan.plan_sets import PlanSet
from ..command import Answer
from . import deploy

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
    from ...switch import next_run

    chosen: list[tuple[PlanSet, PlanSet | None]] = []

    def choose() -> PlanSet:
        chosen.append((_choose(args.plan), plan_sets.current()[0]))
        return chosen[0][0]

    result, shown = deploy.put(choose, args)
    following = None if args.dry_run else next_run.after_rollback(*chosen[0])
    return (result, shown) if following is None else ({**(result or {}), "next": following}, f"{shown}\n{following}")


def _choose(name: str | None) -> PlanSet:
    """Return the earlier plan. Raises UsageError, and RoundhouseError if a part of it is missing."""
    from ...plan import plan_sets
    from ...switch import deploy_preview

    found = plan_sets.before(name)
    if lost := deploy_preview.missing(found):
        text = "The plan {plan} is incomplete: {lost}."
        remedy = "Name another plan of `roundhouse plans`."
        raise RoundhouseError("plan_incomplete", text, remedy, plan=found.name, lost="; ".join(lost))
    return found
