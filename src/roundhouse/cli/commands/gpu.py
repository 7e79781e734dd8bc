"""`gpu`: show each GPU."""

from __future__ import annotations

import argparse

from ..command import Answer


def run(args: argparse.Namespace) -> Answer:
    """Show the GPUs; also on a host without a plan."""
    from ...agents import gpu_usage

    found = gpu_usage.cards()
    return {"gpus": found}, gpu_usage.text(found)
