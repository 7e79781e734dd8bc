"""`status`: show the agents."""

from __future__ import annotations

import argparse

from ...plan import deployed
from ..command import Answer


def run(args: argparse.Namespace) -> Answer:
    """Show the agents."""
    from ...agents import status
    from ...host import gpu

    plan = deployed.load()
    rows = status.rows(plan)
    facts, switching = gpu.facts(), status.running_switch()
    held, unusable = status.memory(plan, facts), status.unusable(plan, facts)
    answer = {"agents": rows, "gpus": held, "unusable_gpus": unusable, "switch": switching}
    return answer, status.text(rows, held, switching, unusable)
