"""`resume`: start the last active agent again."""

from __future__ import annotations

import argparse

from ...plan import deployed
from .. import live
from ..command import Answer

EPILOG = "An agent that runs with the configuration of an earlier plan is restarted.\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --no-wait."""
    parser.add_argument("--no-wait", action="store_true", help="return without waiting for the agent, as at boot")


def run(args: argparse.Namespace) -> Answer:
    """Resume."""
    from ...switch import resume

    deployed.load()  # an error of the plan before the lock and its progress
    with live.progress() as report:
        result = {"serving": resume.start_only(report)} if args.no_wait else resume.resume(report)
    return {**result}, f"{'starting' if args.no_wait else 'active'}: {', '.join(result['serving'])}"
