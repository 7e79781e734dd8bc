"""`rollback [PLAN]`: deploy an earlier plan again."""

from __future__ import annotations

import argparse
from typing import Any

from ...errors import RoundhouseError
from . import deploy, switch

HELP = "deploy the previous plan again, or the one that is named, as a transaction"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the plan."""
    parser.add_argument("plan", nargs="?", metavar="PLAN", help="a name from plans (default: the one before)")
    deploy.add_options(parser)


def check(args: argparse.Namespace) -> None:
    """Raise UsageError for an invalid --drain."""
    switch.check(args)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Roll back."""
    from ...plan import plan_sets
    from ...switch import deploy_preview

    found = plan_sets.before(args.plan)
    if lost := deploy_preview.missing(found):
        raise RoundhouseError(
            "plan_incomplete", "The plan {plan} cannot serve: {lost}.", plan=found.name, lost="; ".join(lost)
        )
    return deploy.put(found, args)
