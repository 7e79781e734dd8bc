"""`plan`: show the deployed plan."""

from __future__ import annotations

import argparse

from ...plan import deployed
from ..command import Answer


def run(args: argparse.Namespace) -> Answer:
    """Show the plan."""
    from ...plan import measured, report

    plan, starts = deployed.load(), measured.load()
    agents = [agent | {"measured": measured.of(agent, starts)} for agent in plan["agents"]]
    return {"agents": agents}, report.text(plan, starts)
