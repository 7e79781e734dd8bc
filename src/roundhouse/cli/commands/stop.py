"""`stop [AGENT]`: stop the active agent."""

from __future__ import annotations

import argparse

from ...plan import deployed
from ...util import console
from ..command import Answer
from . import switch

HELP = "stop the active agent, or the one that is named, and leave its GPU idle"
check = switch.check
EPILOG = """\
The agent stays stopped until a request for it arrives (gateway_on_demand, the default), or until a switch, a reboot, a
deployment or resume starts an agent.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the agent and how to stop it."""
    parser.add_argument("agent", nargs="?", metavar="AGENT", help="an agent (default: whichever is active)")
    switch.add_drain(parser)


def run(args: argparse.Namespace) -> Answer:
    """Stop."""
    from ...switch import stop

    plan = deployed.load()
    result = stop.stop(plan, args.agent, console.progress(), drain_seconds=args.drain, wait=args.wait)
    return {**result}, stop.text(result)
