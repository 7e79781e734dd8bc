"""`gpu`: each card."""

from __future__ import annotations

import argparse

from ..command import Answer

HELP = "show each GPU: memory, use, temperature, power, and who holds its memory"


def run(args: argparse.Namespace) -> Answer:
    """Show them; also where nothing was deployed."""
    from ...agents import gpu_usage

    found = gpu_usage.cards()
    return {"gpus": found}, gpu_usage.text(found)
