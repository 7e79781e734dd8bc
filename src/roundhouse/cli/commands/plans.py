"""`plans`: the plans that were deployed."""

from __future__ import annotations

import argparse

from ...util import console
from ..command import Answer

HELP = "list the plans that were deployed, the newest last: engine, models, since when"


def run(args: argparse.Namespace) -> Answer:
    """Show them."""
    from ...plan import plan_sets

    rows = plan_sets.rows()
    return {"plans": rows}, console.table(plan_sets.COLUMNS, rows) if rows else "no plan was deployed here"
