"""`status`: each agent's state."""

from __future__ import annotations

import argparse
from typing import Any

from ...plan import deployed

HELP = "show each agent's state, model, requests and KV use, memory by owner, drift from the plan"


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Show it."""
    from ...agents import status

    plan = deployed.load()
    rows = status.rows(plan)
    held, switching = status.memory(plan), status.running_switch()
    if not args.json:
        print(status.text(rows, held, switching))
    return {"agents": rows, "gpus": held, "switch": switching}
