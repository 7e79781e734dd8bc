"""`plan`: what is deployed."""

from __future__ import annotations

import argparse
from typing import Any

from ...plan import deployed

HELP = "show what is deployed: memory of each GPU, what was given up, what engines stated"


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Show it."""
    from ...plan import measured, report

    plan, starts = deployed.load(), measured.load()
    if not args.json:
        print(report.text(plan, starts))
    return {"agents": [agent | {"measured": measured.of(agent, starts)} for agent in plan["agents"]]}
