"""`status`: each agent's state."""

from __future__ import annotations

import argparse

from ...plan import deployed
from ..command import Answer

HELP = "show each agent's state, model, requests and KV use, memory by owner, drift from the plan"


def run(args: argparse.Namespace) -> Answer:
    """Show it."""
    from ...agents import status

    plan = deployed.load()
    rows = status.rows(plan)
    held, switching = status.memory(plan), status.running_switch()
    return {"agents": rows, "gpus": held, "switch": switching}, status.text(rows, held, switching)
