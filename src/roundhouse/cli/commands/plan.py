"""`plan`: what is deployed."""

from __future__ import annotations

import argparse

from ...plan import deployed
from ..command import Answer

HELP = "show what is deployed: memory of each GPU, what was given up, what engines stated"


def run(args: argparse.Namespace) -> Answer:
    """Show it."""
    from ...plan import measured, report

    plan, starts = deployed.load(), measured.load()
    agents = [agent | {"measured": measured.of(agent, starts)} for agent in plan["agents"]]
    return {"agents": agents}, report.text(plan, starts)
