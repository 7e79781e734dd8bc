"""`status`: show the agents."""

from __future__ import annotations

import argparse

from ...plan import deployed
from ..command import Answer

HELP = "show each agent: state, model, requests, memory, drift"


def run(args: argparse.Namespace) -> Answer:
    """Show the agents."""
    from ...agents import status

    plan = deployed.load()
    rows = status.rows(plan)
    held, switching = status.memory(plan), status.running_switch()
    return {"agents": rows, "gpus": held, "switch": switching}, status.text(rows, held, switching)
