"""`stop [AGENT]`: stop the active agent."""

from __future__ import annotations

import argparse

from ...plan import deployed
from .. import live
from ..command import Answer
from . import switch

check = switch.check
EPILOG = """\
The agent stays stopped until a request for it arrives (gateway_on_demand, the
default), or until a switch, a reboot, a deployment or resume starts an agent.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the agent and the drain."""
    parser.add_argument("agent", nargs="?", metavar="AGENT", help="an agent (default: the active one)")
    switch.add_drain(parser)


def run(args: argparse.Namespace) -> Answer:
    """Stop."""
    from ...switch import stop

    plan = deployed.load()
    with live.progress() as report:
        result = stop.stop(plan, args.agent, report, drain_seconds=args.drain, wait=args.wait)
    return {**result}, stop.text(result)
