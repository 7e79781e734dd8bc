"""`status`: show the agents."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ...plan import deployed
from ..command import Answer

if TYPE_CHECKING:
    from ...schema.cards import CardMemory
    from ...schema.plan import Plan


def run(args: argparse.Namespace) -> Answer:
    """Show the agents."""
    from ...agents import status

    plan = deployed.load()
    rows, switching = status.rows(plan), status.running_switch()
    held, unusable = _cards(plan)
    answer = {"agents": rows, "gpus": held, "unusable_gpus": unusable, "switch": switching}
    return answer, status.text(rows, held, switching, unusable)


def _cards(plan: Plan) -> tuple[list[CardMemory], list[str]]:
    """Return the memory of the agents' GPUs, and a sentence for each unusable one; nothing for a plan without GPUs."""
    if plan["accelerator"] != "cuda":
        return [], []
    from ...agents import card_status
    from ...host import gpu

    facts = gpu.facts()
    return card_status.memory(plan, facts), card_status.unusable(plan, facts)
