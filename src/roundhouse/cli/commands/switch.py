"""`switch AGENT`, also `AGENT`: activate an agent."""

from __future__ import annotations

import argparse
import math
import os
from typing import TYPE_CHECKING

from ...agents import drain
from ...errors import UsageError
from ...plan import deployed
from ...util.suggest import near
from .. import command, live

if TYPE_CHECKING:
    from ...schema.plan import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the agent and the drain."""
    parser.add_argument("agent", metavar="AGENT", help="an agent of the host")
    add_drain(parser)


def add_drain(parser: argparse.ArgumentParser) -> None:
    """Add the time limit of running requests, and --wait."""
    parser.add_argument(
        "--drain",
        type=float,
        default=drain.DEFAULT_SECONDS,
        metavar="SECONDS",
        help="cut running requests after that time (default: %(default)g)",
    )
    parser.add_argument("--wait", action="store_true", help="if another switch is running, wait for its end")


def check(args: argparse.Namespace) -> None:
    """Raise UsageError for a negative or infinite drain."""
    if not 0 <= args.drain < math.inf:
        remedy = "Write seconds, such as 30, or 0 to cut requests at once."
        raise UsageError("drain_invalid", "--drain is {drain}.", remedy, drain=f"{args.drain:g}")


def run(args: argparse.Namespace) -> command.Answer:
    """Switch."""
    from ...switch import daemon_socket, transaction

    plan = _plan(args)  # for a wrong name; the switch reads the plan in place itself
    words = [args.agent, "--drain", f"{args.drain:g}", *(["--wait"] if args.wait else [])]
    with live.progress(daemon_socket.report_here(), adds=daemon_socket.ALONE not in os.environ) as report:
        result = daemon_socket.ask(words, report) or transaction.ensure_ready(
            plan, args.agent, report, drain_seconds=args.drain, wait=args.wait
        )
    seconds = ", ".join(f"{stage} {value} s" for stage, value in result["stages"].items())
    cut = f"; cut {result['cut']} requests" if result["cut"] else ""
    port = deployed.find(deployed.load(), args.agent)["port"]  # of the plan that a deployment meanwhile put in place
    return {**result}, f"{result['agent']} is active on port {port} ({seconds}{cut})"


def _plan(args: argparse.Namespace) -> Plan:
    """Return the plan. Raises UsageError for an unknown agent, which may be a misspelt command."""
    try:
        plan = deployed.load()
    except UsageError:
        if args.implicit and near(args.agent, command.NAMES):
            raise command.unknown(args.agent) from None
        raise
    names = [agent["name"] for agent in plan["agents"]]
    if args.implicit and args.agent not in names:
        raise command.unknown(args.agent, names)
    deployed.find(plan, args.agent)
    return plan
