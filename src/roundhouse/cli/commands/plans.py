"""`plans`: list the deployed plans."""

from __future__ import annotations

import argparse

from ...util import console
from ..command import Answer

HELP = "list the deployed plans, newest last: engine, models, date"


def run(args: argparse.Namespace) -> Answer:
    """List them."""
    from ...plan import plan_sets

    rows = plan_sets.rows()
    return {"plans": rows}, console.table(plan_sets.COLUMNS, rows) if rows else "No plan was deployed on this host."
