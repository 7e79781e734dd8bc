"""`gpu`: each card."""

from __future__ import annotations

import argparse
from typing import Any

HELP = "show each GPU: memory, use, temperature, power, and who holds its memory"


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Show them; also where nothing was deployed."""
    from ...agents import gpu_usage

    found = gpu_usage.cards()
    if not args.json:
        print(gpu_usage.text(found))
    return {"gpus": found}
