"""`resume`: start the last active agent again."""

from __future__ import annotations

import argparse

from ...plan import deployed
from ...util import console
from ..command import Answer

HELP = "start the last active agent again, also after an interrupted switch"
EPILOG = "An agent that still runs as it was deployed before is restarted.\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add whether to wait."""
    parser.add_argument("--no-wait", action="store_true", help="start it and return, as at boot")


def run(args: argparse.Namespace) -> Answer:
    """Resume."""
    from ...switch import resume

    plan, report = deployed.load(), console.progress()
    result = {"serving": resume.start_only(plan, report)} if args.no_wait else resume.resume(plan, report)
    return {**result}, f"{'starting' if args.no_wait else 'serving'}: {', '.join(result['serving'])}"
